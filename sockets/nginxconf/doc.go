// Package nginxconf reads nginx's configuration files: enough of them to say which application sockets nginx will
// connect to, from which line, as which user, and with which buffers.
//
// It understands the syntax of nginx 1.22 (words, quotes, escapes, comments, blocks, include with patterns) and the raw
// Lua of the *_by_lua_block directives. What a directive means is looked at for a few only; a variable stays a variable.
// The package opens files and nothing else. The files may be written by strangers: everything has a limit, and a file that
// is no plain file is not opened.
package nginxconf

// Limits of one configuration. nginx has none of its own.
const (
	maxFile       = 8 << 20  // bytes of one file
	maxTotal      = 32 << 20 // bytes of all files, a file that is included twice counted twice
	maxFiles      = 10000    // files read, a file that is included twice counted twice
	maxDepth      = 64       // blocks inside each other; nginx itself knows about six levels
	maxIncludes   = 32       // includes inside each other
	maxDirectives = 500000   // directives kept
	maxWord       = 4000     // bytes of one word; nginx's own limit is a buffer of 4096 bytes
	maxFaults     = 64       // faults remembered
)
