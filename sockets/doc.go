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
//   - Owner and mode are set through a descriptor of the socket file that has been checked (a socket, one link, and a
//     connection through it arrives at the socket that was just bound), never through a path. Later the file is known by
//     its inode's number, which nobody else's file can get as long as the socket is open.
//   - What is in the way is replaced only if it is a socket, nobody answers on it, and it is the tenant's or ours.
//   - Folders that are made in a runtime root get their name when owner and mode are right.
//
// Where the configuration is root's word (no tenant), a folder that others may write is bound in with root's rights: the
// checks of the file hold there too, but who may change the way to that folder decides where the socket is.
//
// Ports and abstract names have no owner. A tenant's are bound with the tenant's rights, so it gets what it could take
// by itself, never a port below 1024, and never one that somebody listens on, by whatever address. Abstract names are first come, first served, and
// any process of this machine may take a free one, with emperord or without: X servers, session buses and other programs that use them have to
// ask who listens (SO_PEERCRED), and are told the tenant.
//
// POSIX ACLs are seen by way of the group's bits of the mode, which are their mask. NFSv4 ACLs are not seen: a runtime
// root belongs on a local file system.
//
// The path is bound as it was asked for, so that getsockname shows it: operators read it in `ss -xl`, and a real uwsgi
// recognises inherited sockets by it.
package sockets
