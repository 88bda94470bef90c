package emperor

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// handed says of every field of what the loop keeps how it gets through an upgrade: handed over with the document
// ("handed"), or otherwise, and why that loses nothing. A field without a line here fails TestEveryFieldSurvivesAnUpgrade.
var handed = map[string]map[string]string{
	"vassal": {
		"up": "handed", "failing": "handed", "leader": "handed", "enough": "handed", "dates": "handed", "good": "handed", "starts": "handed", "demand": "handed", "notices": "handed",
		"farewells": "empty between steps", "alone": "found out anew", "caller": "of one step", "bells": "hung anew by proceed",
		"sighting": "handed", "name": "handed", "life": "handed", "attempts": "handed", "listeners": "handed", "held": "handed", "addresses": "handed", "called": "handed",
		"serving": "handed", "tail": "handed", "may": "handed", "exits": "handed", "refused": "handed", "drift": "handed", "lost": "handed",
		"alarm":      "remade from the life by setAlarm",
		"binding":    "nothing is bound while busy says nothing",
		"binders":    "none while busy says nothing",
		"adjusting":  "nothing is adjusted while afoot is 0",
		"inspecting": "not while busy says nothing",
		"armed":      "watches are set anew by the first slow look",
		"watched":    "watches belong to the inotify instance, which is another one",
	},
	"attempt": {
		"document": "handed", "denied": "handed", "restored": "handed", "program": "handed", "starts": "handed", "dir": "handed", "asked": "handed", "demand": "handed",
		"attributes": "handed", "wrapper": "handed", "chdir": "handed", "sum": "handed", "killed": "handed", "ready": "handed", "accepting": "handed",
		"hooks": "of a preparation; who has no process begins anew", "hooked": "of a preparation", "rests": "of a preparation", "ahead": "turns begin anew", "judged": "of a preparation",
		"reader": "of a preparation", "naming": "of a preparation", "said": "of a preparation",
		"mark": "handed", "id": "handed", "who": "handed", "change": "handed", "root": "handed", "trusted": "handed", "user": "handed", "answer": "handed", "wanted": "handed", "notices": "handed",
		"listeners": "handed", "adjust": "handed", "pid": "handed", "since": "handed", "board": "handed", "pipe": "handed", "output": "handed", "foreign": "handed", "told": "handed", "late": "handed", "loyal": "handed",
		"file":     "closed before there is a process; who has none begins anew",
		"resolver": "killed by again; who has no process begins anew",
		"reply":    "closed by again",
		"ended":    "of the resolver",
		"answered": "nil where there is a process",
		"done":     "true where there is a process",
		"hearing":  "proceed listens anew",
	},
	"Life": {
		"Wanted": "handed", "Silence": "handed", "BeatBy": "handed", "Good": "handed", "Same": "handed", "Restoring": "handed", "Restored": "handed", "Stale": "handed", "Refusal": "handed", "Exiled": "handed",
		"State": "handed", "Since": "handed", "Deadline": "handed", "Last": "handed", "Serving": "handed", "Coming": "handed", "Process": "handed", "Leaving": "handed", "Then": "handed", "Served": "handed",
		"Spent": "handed", "Failures": "handed", "Restarts": "handed", "Losses": "handed", "Remade": "handed", "Reason": "handed",
	},
	"Emperor": {
		"guarding": "the guard's pid is handed over; the next program starts its own with what it was handed, and ends that one; where none runs none is started",
		"doors":    "handed", "pidfiles": "handed", "rolling": "handed", "endings": "handed", "strays": "handed", "store": "handed", "service": "handed while systemd waits for READY; else told anew",
		"style": "from the configuration", "ours": "from the configuration", "patterns": "from the configuration", "bells": "made anew", "readers": "forsaken: who has no process begins anew",
		"passed": "found out anew", "lookAt": "proceed looks", "requested": "who waits for a turn begins anew", "hooks": "none while busy says nothing",
		"started": "handed", "vassals": "handed", "processes": "handed", "leftovers": "handed", "addresses": "handed", "remnants": "handed", "lines": "handed", "turns": "handed", "strangers": "handed",
		"cg": "handed", "upgrade": "handed", "program": "handed", "control": "handed",
		"o": "from main", "c": "read anew", "log": "made anew", "sink": "flushed, and made anew", "policy": "from the configuration", "tyrant": "from the configuration, and must not change",
		"powers": "handed; given back exactly", "limits": "from the configuration", "newPrivs": "from the configuration", "groups": "from the configuration", "vassald": "from the configuration",
		"directory": "answers of getent are asked for again", "events": "emptied by pauseAll", "sentry": "made anew", "watches": "belong to the sentry", "monitor": "made anew; it begins with what was seen",
		"signals": "what has arrived is in the environment", "closing": "made anew", "helpers": "ended, or of the kind that nothing depends on", "afoot": "0", "unclaimed": "empty while afoot is 0",
		"removing": "empty while afoot is 0", "asking": "empty while busy says nothing", "silence": "only keeps a line from being said twice",
		"alarms": "remade by setAlarm", "awaited": "who waits for a turn begins anew", "urgent": "who waits for a turn begins anew", "queue": "who waits for a turn begins anew", "away": "empty while busy says nothing",
		"fading": "read to their end by pauseAll", "leaving": "no upgrade then", "leavingAt": "no upgrade then",
	},
	"sighting": {"monitor": "handed", "name": "handed", "path": "handed", "dir": "handed", "base": "handed", "file": "handed", "maker": "handed", "beside": "handed", "stamp": "handed"},
	"remnant":  {"group": "handed", "uid": "handed", "vassal": "handed", "killAt": "handed"},
	"output": {
		"rest": "handed", "last": "handed", "lost": "handed", "read": "handed", "name": "from the vassal's", "tail": "the vassal's", "may": "the vassal's", "from": "the attempt's number",
		"uid": "the attempt's", "style": "of the next log", "write": "closed where there is a process", "waiting": "flushed", "paused": "true", "over": "handed", "mu": "free", "done": "closed",
	},
	"leftover": {"leaf": "handed", "vassal": "handed", "killAt": "handed", "kills": "handed"},
	"bounds": {"group": "handed", "limits": "handed", "seen": "handed", "met": "handed", "oom": "handed", "own": "handed", "said": "handed", "unsaid": "handed",
		"read": "the group's", "files": "the group's"},
	"groups": {"tree": "handed", "bounds": "handed", "leaves": "handed", "left": "handed", "watcher": "made anew", "users": "looked up anew", "full": "only keeps a line from being said twice"},
}

func TestEveryFieldSurvivesAnUpgrade(t *testing.T) {
	for _, value := range []any{vassal{}, attempt{}, Life{}, Emperor{}, sighting{}, remnant{}, output{}, leftover{}, bounds{}, groups{}} {
		kind := reflect.TypeOf(value)
		lines := handed[kind.Name()]
		for i := range kind.NumField() {
			if name := kind.Field(i).Name; lines[name] == "" {
				t.Errorf("%s.%s is new: hand it over (handover.go, handover_give.go, handover_take.go), and say here how it gets through an upgrade", kind.Name(), name)
			}
		}
		for name := range lines {
			if _, there := kind.FieldByName(name); !there {
				t.Errorf("%s.%s is not there any more", kind.Name(), name)
			}
		}
	}
}

// wholeSecond is the second that has begun, in both clocks: far from where round goes the other way.
func wholeSecond() time.Time {
	now := time.Now()
	return now.Add(-time.Duration(now.Nanosecond()))
}

// filled sets every exported field that it reaches to something else than zero.
func filled(v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(wholeSecond().Add(time.Duration(*n) * time.Second)))
		return
	case State:
		v.Set(reflect.ValueOf(Stopping))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			filled(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		filled(v.Index(0), n)
		filled(v.Index(1), n)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(strings.Repeat("x", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(uint64(*n))
	default:
		panic("a Life has a field of the kind " + v.Kind().String() + ": pack and unpack have to know it")
	}
}

// TestLifeIsTheSameAfterItsPacking fills every field, those of tomorrow too.
func TestLifeIsTheSameAfterItsPacking(t *testing.T) {
	var life, again Life
	n := 0
	filled(reflect.ValueOf(&life).Elem(), &n)
	c := newClock()
	text, err := pack(life, c)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	if err := unpack(text, &again, newClock()); err != nil {
		t.Fatal(err)
	}
	shown := func(l Life) string {
		text, _ := pack(l, c)
		var all any
		_ = json.Unmarshal(text, &all)
		round(all)
		text, _ = json.Marshal(all)
		return string(text)
	}
	if shown(life) != shown(again) {
		t.Errorf("before: %s\nafter:  %s", shown(life), shown(again))
	}
	if d := again.Deadline.Sub(life.Deadline); d.Abs() > time.Millisecond {
		t.Errorf("the deadline has moved by %s", d)
	}
}

// round makes times comparable: clocks are read one after the other.
func round(value any) {
	switch x := value.(type) {
	case map[string]any:
		if wall, is := x["wall"].(string); is {
			at, _ := time.Parse(time.RFC3339Nano, wall)
			x["wall"], x["mono"] = at.Round(5*time.Millisecond).String(), 0
		}
		for name, v := range x {
			if name == "fd" || name == "board" || name == "pipe" || name == "register" {
				x[name] = 0
			}
			round(v)
		}
	case []any:
		for _, v := range x {
			round(v)
		}
	}
}
