// Package emperor governs vassals: one life per vassal file.
//
// The way of one vassal through it: monitor.go sees the file, life.go decides, prepare.go judges and resolves,
// bind.go makes the sockets, spawn.go runs vassald with its owner's rights, reaping.go reaps it and starts over. Decisions are
// in Next, a pure function from a life and an event to the life after it and the actions to take; everything with an effect is in the
// loop, one goroutine on one thread, or in short goroutines that hand their result to the loop as an event. Every failure is an
// event. testdata/life.golden is the printed table of every state with every event.
//
// What stands where:
//
//	running, loop, alarms, reaping, strays, guarding   the program's own life; its children, and what they leave behind
//	monitor, looking, sighting, scout, watching, writing, link, path   which vassal files there are, and who may have made them
//	life, life_steps, life_demand, life_rules   what becomes of a vassal
//	vassal, vassal_end, queue, rolling, linger   what is done for that, in which order
//	judge, prepare, reader, good, nested   the file's owner; its settings, read with that owner's rights
//	bind, sentry, demand, bells   sockets: made, guarded, waited at
//	spawn, wrapper, memfd, rights, privileges, powers, threads, environment, groups, bounds   the vassal's process and what it may do
//	hooks, reinforcements   what else runs
//	directory, getent, acl   users and groups
//	log, sink, output, tail, why, allowance, measure   what is said, and what is remembered
//	control, gate, status, doors, statistics, commands, trigger, dates, pidfiles   who asks and orders
//	service, store, register   systemd
//	upgrade, handover   another program in the place of this one
package emperor
