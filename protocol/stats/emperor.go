package stats

import (
	"bytes"
	"encoding/json"
)

// An Emperor is what emperor-stats serves: one document for each connection.
type Emperor struct {
	Version       string   `json:"version"`
	PID           int      `json:"pid"`
	UID           int      `json:"uid"`
	GID           int      `json:"gid"`
	CWD           string   `json:"cwd"`
	Emperor       []string `json:"emperor"`        // the folders and globs that are watched
	EmperorTyrant int      `json:"emperor_tyrant"` // 1: each vassal runs as its file's owner
	ThrottleLevel int      `json:"throttle_level"` // milliseconds that all starts are delayed
	Vassals       []Vassal `json:"vassals"`
	Blacklist     []Banned `json:"blacklist"`
}

// A Vassal is one vassal that runs, or waits for its first connection. Times are seconds since 1970, 0: never.
type Vassal struct {
	ID            string `json:"id"`  // the file's name in its folder, the whole path for a glob
	PID           int    `json:"pid"` // -1: no process
	Born          int64  `json:"born"`
	LastMod       int64  `json:"last_mod"`
	LastHeartbeat int64  `json:"last_heartbeat"`
	Loyal         int    `json:"loyal"` // 1: it has served a request
	Ready         int    `json:"ready"` // 1: its application is loaded
	Accepting     int    `json:"accepting"`
	LastLoyal     int64  `json:"last_loyal"`
	LastReady     int64  `json:"last_ready"`
	LastAccepting int64  `json:"last_accepting"`
	FirstRun      int64  `json:"first_run"`
	LastRun       int64  `json:"last_run"`
	Cursed        int64  `json:"cursed"`    // when it was told to stop
	Zerg          int    `json:"zerg"`      // 1: a reinforcement of another vassal
	OnDemand      string `json:"on_demand"` // the socket whose first connection starts it
	UID           int    `json:"uid"`       // of the file's owner in tyrant mode, else 0
	GID           int    `json:"gid"`
	Monitor       string `json:"monitor"`  // the folder or glob that it was found by
	Respawns      int    `json:"respawns"` // processes after the first
}

// A Banned vassal has failed and is not started for a while.
type Banned struct {
	ID            string `json:"id"`
	ThrottleLevel int64  `json:"throttle_level"` // milliseconds until the next try, from the failure on
	Attempt       int    `json:"attempt"`        // failures in a row
	FirstAttempt  int64  `json:"first_attempt"`  // seconds since 1970
	LastAttempt   int64  `json:"last_attempt"`
}

// Encode writes the document with a tab for each level, as uWSGI does.
func (e *Emperor) Encode() ([]byte, error) {
	var b bytes.Buffer
	to := json.NewEncoder(&b)
	to.SetIndent("", "\t")
	to.SetEscapeHTML(false)
	if e.Vassals == nil {
		e.Vassals = []Vassal{} // readers count on an array
	}
	if e.Blacklist == nil {
		e.Blacklist = []Banned{}
	}
	if e.Emperor == nil {
		e.Emperor = []string{}
	}
	if err := to.Encode(e); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
