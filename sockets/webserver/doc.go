// Package webserver looks at nginx as a neighbour of applications: which ones run or would run, as which users, with which
// configuration, and whether what they connect to is what a vassal listens on.
//
// It changes nothing and stops nobody. It runs one program, `nginx -V`, to learn where a build looks for its files.
package webserver

import (
	"github.com/emperord/emperord/sockets/access"
	"github.com/emperord/emperord/sockets/nginxconf"
)

// A Server is one nginx: a configuration, and the processes that run it.
type Server struct {
	Program string // the binary; empty: not found
	Prefix  string // what its relative paths begin at
	Conf    string // the main file of its configuration
	Given   bool   // Conf was named by whoever asks

	Master  int   // process id; 0: it does not run
	Down    bool  // it does not run, and that is sure: whoever asks may see all processes, and names no other web server
	Workers []int // process ids of the workers that take requests
	Unit    string

	Config *nginxconf.Config // nil: it cannot be read, Unread says why
	Facts  *nginxconf.Facts  // nil with Config
	Unread string

	Users []access.User // who connects, with the groups that they really have where it runs
	Told  string        // how Users are known: "worker 4711", "/etc/nginx/nginx.conf:1: user www-data"
}

// The codes of findings about nginx. None changes its meaning.
const (
	NginxRefuses     = "nginx-refuses"      // nginx does not load its configuration
	NginxDown        = "nginx-not-running"  // it does not run
	NginxNotReloaded = "nginx-not-reloaded" // a file was changed after nginx had read it
	NginxOldGroups   = "nginx-old-groups"   // its workers have been running since before their user came into a group
	TargetNotServed  = "target-not-served"  // nginx connects to what no vassal listens on
	WrongProtocol    = "wrong-protocol"     // nginx speaks another protocol than the socket
	NoParams         = "no-uwsgi-params"    // uwsgi_pass without the request's variables
	RequestTooBig    = "request-too-big"    // a request's header does not fit into uWSGI's buffer
	HeaderTooBig     = "header-too-big"     // an application's header does not fit into nginx's buffer
	TargetVariable   = "target-variable"    // a note: only a request tells where it goes
	SocketShared     = "socket-shared"      // a note: two vassals ask for it
	SocketUnused     = "socket-unused"      // a note: nothing in nginx leads to the socket
	NginxUnread      = "nginx-unread"       // a note: a file of nginx's could not be looked at
)
