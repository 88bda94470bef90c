package vassal

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/emperord/emperord/configs"
	"github.com/emperord/emperord/protocol/pipe"
	"github.com/emperord/emperord/sockets"
)

// An application is what the configuration says, in the form that starting a host needs.
type application struct {
	*configs.Vassal
	settings configs.Settings
	notices  []string
	emperor  bool // the file names vassals: it is for emperord
}

// resolve reads the vassal's configuration. The file that the command line names is read from the descriptor that the
// emperor has handed over, if it has.
// short: the emperor waits for the answer. took and ask: see configs.Reading and sources.Emperor; both may be nil.
func resolve(ctx context.Context, o Options, short bool, took func(configs.Settings), ask func() error) (*configs.Resolution, error) {
	file, err := descriptor(o.Env, pipe.FileVariable)
	if err != nil {
		return nil, err
	}
	if file != nil {
		defer file.Close()
	}
	return resolveFile(ctx, o, short, file, took, ask), nil
}

// resolveFile is resolve where the file is known; nil: it is opened by its name.
func resolveFile(ctx context.Context, o Options, short bool, file *os.File, took func(configs.Settings), ask func() error) *configs.Resolution {
	in := o.reading(ctx, short, ask)
	in.Took = took
	if file != nil {
		name := withoutSection(vassalFile(o.Args))
		in.Open = func(wanted string) (io.ReadCloser, error) {
			if wanted == name {
				return io.NopCloser(io.NewSectionReader(file, 0, 1<<40)), nil
			}
			if !filepath.IsAbs(wanted) {
				wanted = filepath.Join(o.Dir, wanted)
			}
			return os.Open(wanted)
		}
	}
	return configs.Resolve(in)
}

// understand turns a resolution into an application.
func understand(r *configs.Resolution) (*application, error) {
	if r.Error != "" {
		return nil, &Refusal{r.Error}
	}
	if r.Emperor {
		return &application{Vassal: &configs.Vassal{}, settings: r.Settings, notices: r.Notices, emperor: true}, nil
	}
	v, _, err := configs.ParseVassal(r.Settings)
	if err != nil {
		return nil, &Refusal{err.Error()}
	}
	return &application{Vassal: v, settings: r.Settings, notices: r.Notices}, nil
}

// place says where the last setting with one of these names was written, "" if nowhere.
func (a *application) place(names ...string) string {
	for i := len(a.settings) - 1; i >= 0; i-- {
		for _, n := range names {
			if a.settings[i].Key == n && a.settings[i].Place.File != "" {
				return a.settings[i].Place.String()
			}
		}
	}
	return ""
}

// bind makes the listeners of an application that runs without emperord, but the one at the address have.
func bind(a *application, have string, j journal) ([]*sockets.Listener, error) {
	var made []*sockets.Listener
	for _, wish := range a.Sockets {
		if wish.Address == have {
			continue
		}
		l, err := bindOne(wish)
		if err != nil {
			for _, l := range made {
				_ = l.Remove()
			}
			return nil, &Refusal{fmt.Sprintf("%s: %v", wish.Place, err)}
		}
		for _, w := range l.Warnings {
			j.say("%s", w)
		}
		made = append(made, l)
	}
	return made, nil
}

func bindOne(wish configs.SocketWish) (*sockets.Listener, error) {
	address, err := sockets.ParseAddress(wish.Address)
	if err != nil {
		return nil, err
	}
	r := sockets.Request{Address: address, Mode: wish.Mode, UID: sockets.Anyone, GID: sockets.Anyone, Backlog: wish.Backlog}
	if wish.Owner != "" {
		u, err := user.Lookup(wish.Owner)
		if err != nil {
			u, err = user.LookupId(wish.Owner)
		}
		if err == nil {
			r.UID, err = strconv.Atoi(u.Uid)
		} else {
			r.UID, err = strconv.Atoi(wish.Owner)
		}
		if err != nil {
			return nil, fmt.Errorf("chown-socket: there is no user %q", wish.Owner)
		}
	}
	if wish.Group != "" {
		g, err := user.LookupGroup(wish.Group)
		if err == nil {
			r.GID, err = strconv.Atoi(g.Gid)
		} else {
			r.GID, err = strconv.Atoi(wish.Group)
		}
		if err != nil {
			return nil, fmt.Errorf("chown-socket: there is no group %q", wish.Group)
		}
	}
	return sockets.Bind(r, sockets.Policy{})
}
