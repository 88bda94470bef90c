// Package notify talks with systemd, or whoever else speaks its protocol: what this program says of itself (sd_notify(3)),
// descriptors that are to outlive it (FDSTORE=1), and descriptors that it was started with (sd_listen_fds(3)).
//
// github.com/coreos/go-systemd was looked at. It sends no descriptors, its SdNotify connects anew each time and waits for as
// long as the reader wants, and its activation.Files takes any number of descriptors and reads the environment of the process
// instead of the one it is given. What would be left of it is shorter than the way around it.
package notify
