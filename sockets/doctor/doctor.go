// Package doctor finds out why a web server does not get its page from an application: the way to the socket, the socket,
// who listens there and whether it answers, and what the application itself needs. Each finding has the commands that mend
// it. It works on the sockets of emperord and of a real uWSGI, and as any user, as far as that user may look.
//
// It asks as little of the application as possible: a connection that is closed again, and uwsgi's ping (modifier 100), which runs
// none of its code. It changes nothing.
package doctor

import (
	"context"
	"time"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets/access"
)

// A Finding is one thing that is wrong.
type Finding struct {
	Code     string   `json:"code"`               // stable: scripts may depend on it; see Codes
	Subject  string   `json:"subject"`            // the vassal or the socket
	Place    string   `json:"place,omitempty"`    // a path, or file:line
	Cause    string   `json:"cause"`              // what is wrong
	Why      string   `json:"why,omitempty"`      // what the operator sees of it: "nginx answers 502: …"
	Commands []string `json:"commands,omitempty"` // what mends it, for sh as root, in this order; empty where no command is known
	Note     string   `json:"note,omitempty"`     // what to do where there is no command, or what else the commands do
}

// A Socket is what is to be examined.
type Socket struct {
	Address string      // path, @abstract, host:port, [v6]:port
	Vassal  string      // whose it is; empty: not known
	File    string      // the vassal file that asks for it, absolute; empty: not known
	Line    int         // in File; 0: not known
	Owner   access.User // who serves there; the zero User (no Name): not known
}

// A Tenant is an application and the user it runs as.
type Tenant struct {
	Vassal string      // the file's name
	File   string      // absolute
	User   access.User // who it runs as; no Name: told by the file
}

// An Examiner examines sockets and tenants of one machine. The zero value knows of no emperor.
type Examiner struct {
	Vassals     []api.Vassal  // what the emperor says of its vassals
	Asked       bool          // an emperor was asked, so a socket that it does not name is none of its
	Tyrant      bool          // that emperor is in tyrant mode
	EmperorFile string        // that emperor's own file; empty: not known
	PIDs        []int         // processes that may listen for anybody: that emperor
	Groups      []string      // its emperor-socket-groups; nil: the default
	Webs        []access.User // all who connect to the socket that is examined, where that is more than one user

	Patience time.Duration // how long a listener may take to answer a ping; 0: 3 s

	asked map[string]probe // what Ask has learnt, by address
}

// defaultPatience is longer than a busy application needs for a page that nobody complains about.
const defaultPatience = 3 * time.Second

func (x *Examiner) patience() time.Duration {
	if x.Patience > 0 {
		return x.Patience
	}
	return defaultPatience
}

// Socket examines one socket for a web server that runs as web. It finds nothing where a request would get through.
func (x *Examiner) Socket(ctx context.Context, s Socket, web access.User) []Finding {
	return x.socket(ctx, s, web)
}

// Tenant examines what an application needs to start and to serve, as its own user.
func (x *Examiner) Tenant(ctx context.Context, t Tenant) []Finding {
	return x.tenant(ctx, t)
}
