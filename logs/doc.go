// Package logs writes log files that others move, remove or cut short while they are written.
//
// Nobody has to be told of a rotation: before each write the file's name is looked up again, and where it means another
// file, that one is opened. Lines can be sent as datagrams too, to syslog for example. A log that cannot be written stops nothing: its lines go elsewhere until it can be again.
package logs
