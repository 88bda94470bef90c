package emperor

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/rights"
	"github.com/emperord/emperord/sockets"
)

// rightsOf returns what the processes of an attempt may do.
func (e *Emperor) rightsOf(a *attempt) rights.Rights {
	r := rights.Rights{NoNewPrivs: e.noNewPrivs(a.who), Umask: e.c.Umask, Limits: e.limits}
	if a.change {
		r.User = &rights.User{UID: a.who.UID, GID: a.who.GID, Groups: a.who.Groups}
	}
	switch keep := e.c.VassalsKeep; {
	case !e.powers.have(unix.CAP_SETPCAP): // it stays what it is: see drop and warnOfPowers
	case keep != nil:
		r.Bounding = new(uint64(*keep))
	case r.NoNewPrivs && a.who.UID != 0: // nothing that it runs could get any of them
		r.Bounding = new(uint64)
	}
	return r
}

// noNewPrivs tells whether a vassal may run nothing with more rights than its own, such as sudo or sendmail.
func (e *Emperor) noNewPrivs(who sockets.Identity) bool {
	on := e.tyrant
	if e.c.NoNewPrivs != nil {
		on = *e.c.NoNewPrivs
	}
	return on && !slices.Contains(e.newPrivs, who.UID) && !slices.ContainsFunc(e.c.NewPrivsFor, func(name string) bool { return e.directory.named(name, who) })
}

// prepareRights turns the names of the configuration into numbers.
func (e *Emperor) prepareRights() error {
	for _, l := range e.c.Limits {
		resource, known := rights.Resource(l.Name)
		if !known {
			return mistake("emperor-limit = %s: the kernel has no such limit", l.Name)
		}
		e.limits = append(e.limits, rights.Limit{Resource: resource, Soft: l.Soft, Hard: l.Hard})
	}
	for _, name := range e.c.NewPrivsFor {
		uid, _, err := e.directory.userID(name)
		if err != nil && e.directory.remote {
			continue // known by name when a vassal of that user comes
		}
		if err != nil {
			return mistake("emperor-new-privs-for = %s: %w", name, err)
		}
		e.newPrivs = append(e.newPrivs, uid)
	}
	return nil
}

// tight names the limits under which vassald may not even begin, for the reason of one that has failed without a word: it
// ends by a signal or in Go's runtime then, and cannot say why.
func (e *Emperor) tight() string {
	var lines []string
	for _, l := range e.c.Limits {
		if l.Soft != rights.Unlimited && slices.Contains([]string{"as", "cpu", "data", "fsize", "nofile", "nproc", "stack"}, l.Name) {
			lines = append(lines, fmt.Sprintf("emperor-limit = %s=%d", l.Name, l.Soft))
		}
	}
	if lines == nil {
		return ""
	}
	return "; " + strings.Join(lines, ", ") + " may be too little for vassald: raise it"
}

// checkTyranny refuses to be a tyrant that could not start anybody as somebody else.
func (e *Emperor) checkTyranny() error {
	drops := e.powers.changeUsers() && (e.c.UID != "" || e.c.GID != "")
	switch {
	case !e.tyrant:
		return nil
	case !e.powers.changeUsers():
		return mistake("cannot be a tyrant without root: emperor-tyrant starts each vassal as its file's owner, and that needs CAP_SETUID and CAP_SETGID; start emperord as root, write AmbientCapabilities=CAP_SETUID CAP_SETGID into its unit, or leave emperor-tyrant out")
	case drops && (e.c.Keep == nil || !e.c.Keep.Has(unix.CAP_SETUID) || !e.c.Keep.Has(unix.CAP_SETGID)):
		return mistake("cannot be a tyrant after giving up root: emperor-tyrant starts each vassal as its file's owner, and uid = %s takes the right to; write cap = setgid,setuid beside it, or leave uid and gid out", e.c.UID)
	}
	return nil
}

// warnOfRights says once what a tyrant's vassals cannot do, or have though they should not, and nobody has decided.
func (e *Emperor) warnOfRights() {
	if !e.tyrant {
		return
	}
	e.warnOfPowers()
	if names := secrets(e.kept()); len(names) > 0 && len(e.c.KeepVariable) == 0 {
		e.log.Warn("every vassal gets these variables of emperord's environment, and they look like secrets: " + strings.Join(names, ", ") + "; to keep them, name what vassals may have: emperor-keep-env = PATH,LANG,TZ")
	}
	if e.c.NoNewPrivs == nil && len(e.c.NewPrivsFor) == 0 {
		e.log.Info("programs that vassals run gain no rights (no_new_privs): sudo and su do not work, nor does the sendmail of Postfix; for a user who needs them: emperor-new-privs-for = USER")
	}
}

// warnOfPowers says what an emperor that is not root cannot do.
func (e *Emperor) warnOfPowers() {
	lacks := func(names ...int) (list []string) {
		for _, n := range names {
			if !e.powers.have(n) {
				list = append(list, configs.Capabilities(1<<n).String())
			}
		}
		return list
	}
	if missing := lacks(unix.CAP_CHOWN); len(missing) > 0 {
		e.log.Warn("this emperor may start each vassal as its file's owner, but not chown: sockets in its own folders belong to it and not to the vassal's user, and a chown-socket that asks for more is refused; to have it: cap = " + e.keptAnd(missing))
	}
	now, _ := rights.Bounding()
	if e.c.VassalsKeep != nil && len(lacks(unix.CAP_SETPCAP)) > 0 && now&^uint64(*e.c.VassalsKeep) != 0 {
		e.log.Warn("emperor-cap has no effect: an emperor without CAP_SETPCAP cannot take capabilities from the bounding set of its vassals; write CapabilityBoundingSet= into its unit")
	}
}

// keptAnd returns what the line cap would have to name.
func (e *Emperor) keptAnd(more []string) string {
	var have configs.Capabilities
	for n := range 64 {
		if e.powers.have(n) {
			have |= 1 << n
		}
	}
	return strings.Join(append([]string{have.String()}, more...), ",")
}

// keeping calls take, which gives up root, and has every thread of this process keep the capabilities of keep and no
// others: in the bounding set too, unless vassals may run programs with more rights than theirs.
func (e *Emperor) keeping(keep configs.Capabilities, take func() error) error {
	if err := all("keep capabilities when the user changes", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return err
	}
	// Inheritable while the bounding set still allows it: an upgrade could not hand them to the next program any more. By
	// itself that gives nothing to a program that is run (capabilities(7)), and children of ours lose it.
	powers, err := ownPowers()
	if err != nil {
		return err
	}
	if err := allCapset(uint64(powers), uint64(keep)); err != nil {
		return err
	}
	stay := ^uint64(0) // for programs such as sudo
	if e.c.VassalsKeep != nil {
		stay = uint64(*e.c.VassalsKeep)
	} else if e.noNewPrivs(sockets.Identity{UID: -1}) && len(e.c.NewPrivsFor) == 0 {
		stay = 0
	}
	now, known := rights.Bounding()
	for c := range uintptr(known) {
		if now&^stay>>c&1 == 1 {
			if err := all(fmt.Sprintf("drop capability %d from the bounding set", c), unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				return err
			}
		}
	}
	if err := take(); err != nil {
		return err
	}
	if err := allCapset(uint64(keep), uint64(keep)); err != nil {
		return err
	}
	if err := all("forget to keep capabilities", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 0, 0, 0, 0); err != nil {
		return err
	}
	return verifyThreads(uint64(keep), uint64(keep))
}
