package sockets

import "path/filepath"

// Belongs tells whether a listener that was restored is that of as: made for the same user, and by the same rules, those
// for a tenant or those for root's word.
func (l *Listener) Belongs(as Identity, p Policy) bool {
	if (l.as != nil) != (p.Tenant != nil) {
		return false
	}
	return l.as == nil || l.as.UID == as.UID && l.as.GID == as.GID
}

// Resume makes a restored listener one of as, which it Belongs to: the groups are those of today. It tells whether the
// listener may be what r asks for; where it may not, the configuration or the machine has changed since it was made.
func (l *Listener) Resume(r Request, as Identity, p Policy) bool {
	if l.as != nil {
		l.as = &as
	}
	if l.tenant != nil {
		l.tenant = &as
	}
	switch {
	case l.Address != r.Address || !l.Intact():
		return false
	case p.Tenant == nil:
		return true
	case l.Address.Kind == TCP:
		return l.Address.Port == 0 || l.Address.Port >= 1024
	case l.Address.Kind == Unix && l.tenant == nil: // made as root: only where it still would be
		_, rooted := p.root(l.Address.Path)
		return rooted && RootsAlone(filepath.Dir(l.Address.Path))
	}
	return true
}

// Bare is a snapshot without what can be found out again: the groups of users.
func (s Snapshot) Bare() Snapshot {
	for _, id := range []**Identity{&s.Tenant, &s.As} {
		if *id != nil {
			one := **id
			one.Groups = nil
			*id = &one
		}
	}
	return s
}
