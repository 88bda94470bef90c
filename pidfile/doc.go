// Package pidfile writes pid files. They are written as root into folders that others may write too, and other programs
// signal what they find in them, so: no link that a stranger could have made is followed, nothing but a pid file is
// replaced, a reader never sees half a number, and a file whose process has ended does not stay.
package pidfile
