// Package access says who may do what along a path, as the kernel decides it, and which commands mend it. It looks only:
// it opens no file, runs no command (but getent and id, for users that /etc/passwd does not know) and changes nothing.
//
// # What the kernel asks
//
// A path is gone through name by name from "/" (path_resolution(7)). At every name, "." and ".." among them, the user
// needs x on the folder it is looked up in. A symbolic link has no rights of its own: what it leads to is gone through in
// its place, from "/" again if it begins so, and every folder there counts in the same way; 40 links on one way, at
// most. In a sticky folder that all may write, the last link is followed only by its owner, or if it is the folder's
// owner's (fs.protected_symlinks; proc_sys_fs(5)); root is no exception.
//
// At a folder or file one class of rights decides, the first that fits, and no later one adds to it (inode(7)):
//
//  1. the owner has the first digit of the mode. An owner without a right is refused even if all others have it;
//  2. with a POSIX ACL (acl(5)), a user named in it has that entry, less what the mask withholds. Else the groups: the owning
//     group and the groups named. It takes one entry that holds all that is wanted: r from one group and w from another are
//     not rw. The mask limits this entry too. A member of any of these groups is never "other". And Linux looks at the ACL only if
//     the middle digit of the mode, which is the mask, is not 0: else it is as if there were none;
//  3. without one, a member of the owning group has the second digit;
//  4. everybody else has the third.
//
// Whoever has CAP_DAC_OVERRIDE passes all of this, but runs a file only if anybody may; CAP_DAC_READ_SEARCH reads, and enters
// folders (capabilities(7)). Root has both, unless something took them away.
//
// What may be written has to be on a file system that is not read-only, and not immutable (chattr(1)): no right and no
// capability helps. Sockets, FIFOs and devices may be used on a read-only one. To connect to a socket is to write to
// it: w alone is asked for (unix(7)).
//
// # Which command
//
// A remedy gives one user what it lacks and nobody else more than can be helped, in this order:
//
//  1. The user owns it: chmod u+.
//  2. The user is in the owning group: chmod g+. Whoever gave the file that group meant its members.
//  3. It is a folder of the system's own, such as /run or /srv, and root's: chmod o+x. Every program on the machine expects it.
//  4. An ACL entry for this user (setfacl -m u:NAME:…), where the file system has ACLs and setfacl is installed. One with an
//     ACL is always mended this way: there chmod g+ would widen the mask, and with it every other entry. The mask is named in
//     the command, because setfacl's own would give all entries what an old mask withheld; entries that would gain
//     from the new one are cut to what they had.
//  5. Else chmod o+x for a folder, which lets everybody pass and nobody list; for anything else its group
//     becomes the user's, with no more rights than are wanted. Never r or w for all.
//
// A command runs as root, and may stand on a path that a stranger can change while it is typed: what was judged is replaced by a link to
// a secret of root's, and root opens that. Where only the file's owner could, chmod and setfacl run as the owner
// (setpriv), who can do no more by that than it could before. Elsewhere on a stranger's ground the command opens the file, compares
// its number with the one that was judged, and changes it through the descriptor.
package access
