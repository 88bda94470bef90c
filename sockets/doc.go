// Package sockets makes the listening sockets of applications: it parses addresses, binds safely where strangers may
// write, sets owner and mode, and takes the socket file away again.
//
// The rules for a tenant (see Policy) assume that the tenant is hostile: it chose the path, and in some folders it can
// change what the path means while we look at it. So:
//
//   - Where only root may write, on every folder of the path, there is nobody to race with, and the bind is root's.
//   - Everywhere else the bind, the check of what is in the way and its removal happen on a thread that has the
//     tenant's uid, gid and groups: the kernel allows just what the tenant could have done itself. The thread ends
//     afterwards, so that nothing has to be given back.
//   - A tenant's socket is told to listen on such a thread too: who connects and asks the kernel who listens
//     (SO_PEERCRED) is told the tenant, not root.
//   - Owner and mode are set through a descriptor of the socket file that has been checked (a socket, made by us, one
//     link), never through a path.
//
// The path is bound as it was asked for, so that getsockname shows it: operators read it in `ss -xl`, and a real uwsgi
// recognises inherited sockets by it.
package sockets
