// Package guard ends what is left of vassals when their emperor was killed.
//
// The guard is a process of its own, a child of the emperor with the same rights, and waits for nothing but the emperor's end. The
// emperor writes into a table, a memory file that both have, which sessions its vassals lead (Table); the guard reads it only when the
// emperor has gone (Watch). So it costs nothing meanwhile, and no way of dying keeps the emperor from having told it.
//
// It trusts the emperor and nobody else: what a process says of itself counts only if the process belongs to the vassal's user.
package guard
