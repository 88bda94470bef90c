// Package emperor governs vassals: one life per vassal file.
//
// The way of one vassal through it: monitor.go sees the file, life.go decides, prepare.go judges and resolves,
// bind.go makes the sockets, spawn.go runs vassald with its owner's rights, loop.go reaps it and starts over. Decisions are in Next, a pure function from
// a life and an event to the life after it and the actions to take; everything with an effect is in the loop, one
// goroutine on one thread, or in short goroutines that hand their result to the loop as an event. Every failure is an
// event. testdata/life.golden is the printed table of every state with every event.
package emperor
