package emperor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/shell"
	"github.com/emperord/emperord/sockets"
)

// claim reserves the addresses, so that two vassals never share one.
func (e *Emperor) claim(v *vassal, a *attempt, wishes []configs.SocketWish) error {
	for _, w := range wishes {
		address, err := sockets.ParseAddress(w.Address)
		if err != nil {
			return refuse("%s: %w", w.Place, err)
		}
		text := e.canonical(address)
		if address.Kind == sockets.Unix && e.tyrant && !(e.rooted(address.Path) && sockets.RootsAlone(filepath.Dir(address.Path))) {
			// Who merely asks for a path in somebody's folder must not keep that one from it: the folder decides, when the
			// socket is made.
			text += fmt.Sprintf(" for uid %d", a.who.UID)
		}
		if slices.Contains(a.wanted, text) {
			return refuse("%s: cannot listen on %s twice; remove one of the two lines", w.Place, address)
		}
		if owner := e.addresses[text]; owner != nil && owner != v {
			return fmt.Errorf("%s: cannot listen on %s: the vassal %s has this address; write another one in one of the two files", w.Place, address, owner.name)
		}
		if e.addresses[text] == nil {
			e.addresses[text] = v
			v.addresses = append(v.addresses, text)
		}
		a.wanted = append(a.wanted, text)
	}
	return nil
}

// rooted tells whether a path lies below a runtime root.
func (e *Emperor) rooted(path string) bool {
	return slices.ContainsFunc(append(e.c.SocketRoots[:len(e.c.SocketRoots):len(e.c.SocketRoots)], e.c.OnDemandDirectory), func(root string) bool {
		if root == "" {
			return false
		}
		return strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/")
	})
}

// canonical names an address so that two names of the same one are the same: /var/run is a link to /run nearly
// everywhere.
func (e *Emperor) canonical(a sockets.Address) string {
	text := a.String()
	if a.Kind != sockets.Unix {
		return text
	}
	for _, root := range e.c.SocketRoots {
		rest, below := strings.CutPrefix(text, strings.TrimSuffix(root, "/")+"/")
		if !below {
			continue
		}
		dir, name := filepath.Split(filepath.Clean(root))
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			root = filepath.Join(real, name)
		}
		if real, err := filepath.EvalSymlinks(root); err == nil {
			root = real
		}
		return filepath.Join(root, rest)
	}
	return text
}

// maxBinders is how many attempts of one vassal may wait for its folders. Only the first of them holds a thread.
const maxBinders = 4

// bind decides whose rights the vassal gets, and makes its sockets, beside the loop because a tenant's folder may be
// slow.
func (e *Emperor) bind(v *vassal, a *attempt, r *configs.Resolution) {
	if v.binders >= maxBinders {
		e.prepared(v, a, fmt.Errorf("the folders of its sockets do not answer: %d attempts still wait for them; see that the file system answers: timeout 5 stat -f %s", v.binders, foldersOf(r.Sockets)))
		return
	}
	if a.rests && v.life.State == Resolving && len(v.listeners) == 0 {
		if err := e.roomToWait(); err != nil {
			e.prepared(v, a, err)
			return
		}
	}
	have := slices.Clone(v.listeners)
	left := e.wantsLeft(r.Sockets)
	given, served := e.store.given, a.restored || a.sameAs(v.good)
	trusted := a.trusted
	owner := a.who
	policy := sockets.Policy{Roots: e.c.SocketRoots, Groups: e.groups}
	name, demand, named := v.name, a.demand, a.rests && a.demand.address != ""
	var wait []chan struct{}
	for _, w := range r.Sockets {
		if address, err := sockets.ParseAddress(w.Address); err == nil && e.removing[e.canonical(address)] != nil {
			wait = append(wait, e.removing[e.canonical(address)])
		}
	}
	for _, before := range []chan struct{}{v.binding, v.adjusting} {
		if before != nil {
			wait = append(wait, before)
		}
	}
	done := make(chan struct{})
	v.binding = done
	v.binders++
	e.async(func() func() {
		for _, gone := range wait {
			select {
			case <-gone:
			case <-e.closing:
				return nil
			}
		}
		as, notices, err := owner, []string(nil), error(nil)
		switch {
		case e.tyrant || !named:
			as, notices, err = e.runAs(owner, trusted, r)
		default: // who it runs as is not known before its file is read
			as = e.directory.identify(os.Geteuid(), os.Getegid(), true)
		}
		refusedRights := errors.As(err, new(refusal))
		var b bound
		if err == nil {
			if e.tyrant {
				policy.Tenant = &as
			}
			b.given, b.served = given, served
			resumed, gone := resume(e.directory, left, r.Sockets, as, policy, name)
			err = b.bindAll(e.directory, r.Sockets, append(have, resumed...), as, policy, e.c.SocketPolicy, name, demand.address, e.c.OnDemandDirectory)
			b.removed = gone
		}
		var undone []*sockets.Listener
		if err != nil {
			for _, l := range b.fresh {
				_ = l.Remove()
			}
			undone, b = b.fresh, bound{removed: b.removed}
		}
		e.unclaimed.put(b.fresh)
		return func() {
			e.unclaimed.claim(b.fresh)
			for _, l := range undone {
				e.leftovers.Gone(l)
			}
			v.binders--
			if v.attempts[a.id] != a {
				e.took(nil, left, nil, b.removed)
				e.undo(v, a, b, done)
				return
			}
			close(done)
			e.took(v, left, b.all, b.removed)
			a.denied = refusedRights
			if err == nil && a.restored && !v.good.ranAs(as) {
				err = fmt.Errorf("the rights have changed since the last good settings were read: they ran as uid %d, gid %d, and it would be uid %d, gid %d now", v.good.RanUID, v.good.RanGID, as.UID, as.GID)
				v.held = append(v.held, b.fresh...) // they leave with what nobody needs
			} else if err != nil {
				err = e.blame(v, err)
			} else {
				for i, l := range b.all {
					v.called[l] = a.wanted[i]
				}
				a.who, a.change, a.root = as, e.powers.changeUsers() && (as.UID != os.Geteuid() || as.GID != os.Getegid()), as.UID == 0
				a.listeners, a.adjust = b.all, b.adjust
				if len(b.all) == 0 {
					a.listeners = e.leadersListeners(v)
				}
				a.notices = append(append(a.notices, notices...), b.warnings...)
				v.held = append(v.held, b.fresh...)
				for _, l := range b.fresh {
					e.keep(v, l)
					made := "socket made"
					if l.Given() {
						made = "socket of systemd's taken"
					}
					e.about(v).Info(made, zap.String(fieldVassal, v.name), zap.String(fieldSocket, l.Address.String()))
				}
				for _, n := range a.notices {
					e.about(v).Warn(n, zap.String(fieldVassal, v.name))
				}
			}
			e.prepared(v, a, err)
		}
	})
}

// undo removes what was made for an attempt that has been abandoned meanwhile, and then closes done: the next one binds
// the same addresses.
func (e *Emperor) undo(v *vassal, a *attempt, b bound, done chan struct{}) {
	var wait []chan struct{}
	for _, l := range b.all {
		if slices.Contains(b.fresh, l) {
			e.remove(v, l)
			if gone := e.removing[e.canonical(l.Address)]; gone != nil {
				wait = append(wait, gone)
			}
		}
	}
	e.async(func() func() {
		for _, gone := range wait {
			<-gone
		}
		close(done)
		return nil
	})
}

func foldersOf(wishes []configs.SocketWish) string {
	var all []string
	for _, w := range wishes {
		if dir := filepath.Dir(w.Address); filepath.IsAbs(dir) && !slices.Contains(all, shell.Word(dir)) {
			all = append(all, shell.Word(dir))
		}
	}
	return strings.Join(all, " ")
}

// blame names the vassal whose listener is in the way, where it is one of ours: by another name of the same file, or on
// the same port.
func (e *Emperor) blame(v *vassal, err error) error {
	for _, other := range e.vassals {
		if other != v && slices.ContainsFunc(other.held, func(l *sockets.Listener) bool { return l.Blocks(err) }) {
			return fmt.Errorf("%w; it is a socket of the vassal %s", err, other.name)
		}
	}
	return err
}

// bound is what has become of a vassal's wishes for sockets.
type bound struct {
	all      []*sockets.Listener // in the order of the wishes
	fresh    []*sockets.Listener // those that were made
	adjust   []adjustment
	warnings []string
	given    []*sockets.Given    // sockets of systemd's that it may use
	served   bool                // the same settings have served
	removed  []*sockets.Listener // of what a killed emperor has left
}

// resume finds what of a killed emperor's listeners a vassal may go on with. What was this vassal's and must not be any
// more, because the owner of the file or the configuration has changed, is removed: it would be in the way.
func resume(d *directory, left []*leftListener, wishes []configs.SocketWish, as sockets.Identity, policy sockets.Policy, vassal string) (resumed, removed []*sockets.Listener) {
	for _, l := range left {
		i := slices.IndexFunc(wishes, func(w configs.SocketWish) bool {
			address, err := sockets.ParseAddress(w.Address)
			return err == nil && address == l.listener.Address
		})
		if i < 0 {
			continue
		}
		mine := l.listener.Belongs(as, policy)
		r, err := requestFor(d, wishes[i], as)
		if mine && errors.As(err, new(noName)) {
			continue // the vassal is tried again, and so is this
		}
		if mine && err == nil && l.listener.Resume(r, as, policy) {
			resumed = append(resumed, l.listener)
		} else if mine || l.vassal == vassal {
			_ = l.listener.Remove()
			removed = append(removed, l.listener)
		}
	}
	return resumed, removed
}

// An adjustment is what an existing socket gets when the generation that wants it accepts: not before, because one that
// does not load must leave the serving one as it is.
type adjustment struct {
	listener *sockets.Listener
	request  sockets.Request
	policy   sockets.Policy
}

// bindAll makes or finds every socket that is wished for. The one at the address demand may be below root too.
func (b *bound) bindAll(d *directory, wishes []configs.SocketWish, have []*sockets.Listener, as sockets.Identity, policy sockets.Policy, names configs.SocketPolicy, vassal, demand, root string) error {
	for _, w := range wishes {
		policy := policy
		if root != "" && w.Address == demand { // the operator's own place, and nobody else's
			policy.Roots = append(slices.Clone(policy.Roots), root)
		}
		if err := b.one(d, w, have, as, policy, names, vassal); err != nil {
			err = fmt.Errorf("%s: %w", w.Place, err)
			if errors.Is(err, sockets.ErrPolicy) {
				err = refusal{err}
			}
			return err
		}
	}
	return nil
}

func (b *bound) one(d *directory, w configs.SocketWish, have []*sockets.Listener, as sockets.Identity, policy sockets.Policy, names configs.SocketPolicy, vassal string) error {
	r, err := requestFor(d, w, as)
	i := slices.IndexFunc(have, func(l *sockets.Listener) bool { return l.Address == r.Address && l.Intact() })
	switch {
	case err != nil && i >= 0 && b.served && errors.As(err, new(noName)): // with a directory that is away, say; nobody shall wait for it
		b.warnings = append(b.warnings, fmt.Sprintf("%s: %v; the socket keeps the one that it has", w.Place, err))
	case err != nil:
		return err
	}
	if policy.Tenant != nil && names == configs.OwnName {
		if err := ownName(r.Address, policy.Roots, vassal, as); err != nil {
			return refusal{err}
		}
		policy.Names = []string{vassalStem(vassal), as.Name}
	}
	if i >= 0 {
		fits, err := have[i].Fits(r, policy)
		if _, drift := have[i].Condition(); err == nil && (!fits || drift != "") {
			b.adjust = append(b.adjust, adjustment{have[i], r, policy})
		}
		b.all = append(b.all, have[i])
		return err
	}
	if i := slices.IndexFunc(b.given, func(g *sockets.Given) bool { return g.Serves(r.Address) }); i >= 0 {
		return b.take(b.given[i], w, r, policy, vassal)
	}
	l, err := sockets.Bind(r, policy)
	if err != nil {
		return err
	}
	b.all, b.fresh, b.warnings = append(b.all, l), append(b.fresh, l), append(b.warnings, l.Warnings...)
	return nil
}

// take uses a socket of systemd's.
func (b *bound) take(g *sockets.Given, w configs.SocketWish, r sockets.Request, policy sockets.Policy, vassal string) error {
	if err := g.For(policy.Tenant, filepath.Base(vassal)); err != nil {
		return err
	}
	l, err := g.Listener(r.Address, policy.Tenant)
	if err != nil {
		return err
	}
	b.all, b.fresh = append(b.all, l), append(b.fresh, l)
	if w.Mode != nil || w.Owner != "" || w.Group != "" || w.Backlog != 0 {
		b.warnings = append(b.warnings, fmt.Sprintf("chmod-socket, chown-socket and listen have no effect on %s, which systemd has made (%s); write SocketMode=, SocketUser=, SocketGroup= and Backlog= into its unit", g, g.Name))
	}
	return nil
}

// requestFor turns a wish into a request. Without chown-socket the socket belongs to who runs the application. With a noName
// the request is good but for that one, which it leaves as it is.
func requestFor(d *directory, w configs.SocketWish, as sockets.Identity) (sockets.Request, error) {
	address, err := sockets.ParseAddress(w.Address)
	if err != nil {
		return sockets.Request{}, err
	}
	r := sockets.Request{Address: address, Mode: w.Mode, UID: sockets.Anyone, GID: sockets.Anyone, Backlog: w.Backlog}
	if sockets.MayChown() {
		r.UID, r.GID = as.UID, as.GID
	}
	if w.Owner != "" {
		if r.UID, _, err = d.userID(w.Owner); err != nil {
			r.UID, err = sockets.Anyone, fmt.Errorf("chown-socket: %w", err)
		}
	}
	if w.Group != "" {
		gid, no := d.groupID(w.Group)
		if r.GID = gid; no != nil {
			r.GID, err = sockets.Anyone, fmt.Errorf("chown-socket: %w", no)
		}
	}
	return r, err
}

// ownName obeys emperor-socket-policy = own-name: the path must carry the vassal's name or its user's. The runtime root's
// own name does not count; that nothing else is new in a runtime root, sockets sees to.
func ownName(a sockets.Address, roots []string, vassal string, as sockets.Identity) error {
	if a.Kind == sockets.TCP {
		return nil
	}
	path, place := a.Path, filepath.Dir(a.String())+"/"
	for _, root := range roots {
		if rest, below := strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/"); below {
			path = rest
			break
		}
	}
	if a.Kind == sockets.Abstract {
		place = "@"
	}
	base := vassalStem(vassal)
	for _, part := range strings.Split(path, "/") {
		stem := strings.TrimSuffix(strings.TrimSuffix(part, ".sock"), ".socket")
		if stem == base || stem == as.Name {
			return nil
		}
	}
	return fmt.Errorf("cannot listen on %s: emperor-socket-policy = own-name wants %q or %q in the path; write for example %s%s.sock", a, base, as.Name, place, base)
}

// vassalStem is a vassal's name without folder and ending.
func vassalStem(vassal string) string {
	base := filepath.Base(vassal)
	return strings.TrimSuffix(base, filepath.Ext(base))
}
