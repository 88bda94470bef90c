// Package api holds the words of the emperor's control socket: HTTP over a unix socket, JSON documents in both
// directions, and a client.
//
//	GET  /v1/status                → Status
//	GET  /v1/vassals/{name}        → Vassal
//	GET  /v1/why/{name}            → Why
//	POST /v1/vassals/{name}/reload → Answer
//	POST /v1/vassals/{name}/stop   → Answer
//	POST /v1/vassals/{name}/start  → Answer
//	POST /v1/reload                → Answer, for all vassals
//
// What cannot be done is answered with a Failure: 403 for a peer without the right, 404 for an unknown vassal, 409 for
// a vassal whose state does not allow it. A vassal's name is one path element; a name that holds a slash (the vassals
// of a glob have one) is escaped by the sender.
package api

import "net/url"

// Version is the version of these documents. It changes when a field changes its meaning; new fields do not change it,
// and readers skip fields that they do not know.
const Version = 1

// DefaultSocket is where emperord listens when emperor-control-socket is not set.
const DefaultSocket = "/run/emperord/control.sock"

// whyPath returns the escaped path of the question why a vassal is as it is.
func whyPath(name string) string { return "/v1/why/" + url.PathEscape(name) }

// vassalPath returns the escaped path of a vassal, with a verb behind it if verb is not empty.
func vassalPath(name, verb string) string {
	path := "/v1/vassals/" + url.PathEscape(name)
	if verb != "" {
		path += "/" + verb
	}
	return path
}
