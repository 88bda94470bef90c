// Package control holds what vassald and a language host say to each other, and the layout of the scoreboard that they
// and the workers share.
//
// The words are JSON objects, one in each packet of a SOCK_SEQPACKET socket pair: the host and all its workers write to
// the same socket, and packets never mix. Every word carries the version; a word that is not known is skipped, so that
// either side may be the newer one.
//
// Orders, vassald to host:
//
//	load    load the application, or, with lazy, only get ready to fork
//	fork    fork the worker of a slot
//	expire  interrupt the worker of a slot that has been reading a request for too long
//	retire  end the workers that there are, when their requests are done; the host stays
//	stop    let the workers finish what is under way and end; kill them after mercy_ms; then end
//
// Reports, host and workers to vassald:
//
//	loaded    the application is loaded (lazy: the host is ready)
//	failed    it could not be loaded; slot says by which worker, -1 is the host
//	forked    the worker of a slot exists
//	unforked  the worker of a slot could not be forked
//	ready     the worker of a slot accepts connections
//	active    a worker has work and nobody watches the scoreboard
//	exited    a worker has ended, with its wait status
//	stopped   all workers have ended and the host ends
//
// When vassald's end is closed, the host does what stop orders, with a mercy of 0.9 s.
package control

// Version is the version of the words.
const Version = 1

// Sizes in bytes of the largest words. A packet that is larger is an error.
const (
	MaxOrder  = 1 << 17
	MaxReport = 32 << 10
)
