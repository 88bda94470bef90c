package emperor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/api"
	"github.com/emperord/emperord/sockets"
)

// A control serves the control socket: JSON over HTTP. Everybody may connect; the kernel says who it is, root and the
// emperor's own user may everything, a tenant sees and steers its own vassals.
type control struct {
	listener *sockets.Listener
	http     *http.Server
	net      net.Listener
}

// peerKey is the key of the peer's credentials in a request's context.
type peerKey struct{}

// listenControl makes the control socket. Where it cannot be had, the emperor works without it and says so.
func (e *Emperor) listenControl() (*control, error) {
	path := e.c.ControlSocket
	if path == "" {
		return &control{}, nil
	}
	c, err := e.openControl(path)
	if err != nil {
		e.log.Warn("emperorctl will not reach this emperor; write another emperor-control-socket", zap.Error(err))
		return &control{}, nil
	}
	return c, nil
}

func (e *Emperor) openControl(path string) (*control, error) {
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot make the folder of the control socket: %w", err)
	}
	mode := fs.FileMode(0o666)
	l, err := sockets.Bind(sockets.Request{Address: sockets.Address{Kind: sockets.Unix, Path: path}, Mode: &mode, UID: sockets.Anyone, GID: sockets.Anyone}, sockets.Policy{})
	if err != nil {
		return nil, err
	}
	c := &control{listener: l}
	if err := e.openHTTP(c); err != nil {
		_ = l.Remove()
		return nil, err
	}
	return c, nil
}

// openHTTP makes what serves the control socket, again after an upgrade that was refused. Connections that came meanwhile have waited.
func (e *Emperor) openHTTP(c *control) error {
	n, err := net.FileListener(c.listener.File)
	if err != nil {
		return fmt.Errorf("cannot use the control socket: %w", err)
	}
	if u, ok := n.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // Remove does it, and only if the file is still ours
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", e.serveStatus)
	mux.HandleFunc("GET /v1/vassals/{name...}", e.serveVassal)
	mux.HandleFunc("GET /v1/why/{name...}", e.serveWhy)
	mux.HandleFunc("POST /v1/reload", e.serveReloadAll)
	mux.HandleFunc("POST /v1/vassals/{rest...}", e.serveVerb)
	mux.HandleFunc("GET /v1/upgrade", e.serveUpgraded)
	mux.HandleFunc("POST /v1/upgrade", e.serveUpgrade)
	c.net = &gate{Listener: n, peers: map[uint32]int{}}
	c.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(&seldom{log: e.log}, "", 0),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerOf(conn))
		},
	}
	return nil
}

// peerOf asks the kernel who is at the other end; nil: it does not say.
func peerOf(conn net.Conn) *unix.Ucred {
	if c, ok := conn.(*guest); ok {
		return c.peer
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	var peer *unix.Ucred
	if raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return nil
	}
	return peer
}

func (c *control) serve() {
	if c.http != nil {
		_ = c.http.Serve(c.net) // it ends when close closes it
	}
}

// pause ends serving, after the requests under way have been answered; the socket goes on listening.
func (c *control) pause(ctx context.Context) {
	if c.http != nil && c.http.Shutdown(ctx) != nil {
		_ = c.http.Close() // who takes so long has its answer cut off
	}
}

func (c *control) close() {
	if c.http != nil {
		_ = c.http.Close()
		_ = c.listener.Remove()
	}
}

// mayAll tells whether the peer may everything.
func mayAll(peer *unix.Ucred) bool {
	return peer != nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid())
}

// mayVassal tells whether the peer may see and steer v.
func (e *Emperor) mayVassal(peer *unix.Ucred, v *vassal) bool {
	return mayAll(peer) || e.tyrant && peer != nil && peer.Uid != 0 && peer.Uid == v.uid
}

// inLoop runs f in the loop and waits for it. It returns false when the emperor has ended or the peer has gone.
func (e *Emperor) inLoop(r *http.Request, f func()) bool {
	done := make(chan struct{})
	select {
	case e.events <- func() { f(); close(done) }:
	case <-e.closing:
		return false
	case <-r.Context().Done():
		return false
	}
	select {
	case <-done:
		return true
	case <-e.closing:
		return false
	}
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // a peer that has gone needs no answer
}

func fail(w http.ResponseWriter, code int, format string, args ...any) {
	reply(w, code, api.Failure{Error: fmt.Sprintf(format, args...)})
}

func peer(r *http.Request) *unix.Ucred {
	p, _ := r.Context().Value(peerKey{}).(*unix.Ucred)
	return p
}

func (e *Emperor) serveStatus(w http.ResponseWriter, r *http.Request) {
	var s api.Status
	if e.inLoop(r, func() { s = e.status(func(v *vassal) bool { return e.mayVassal(peer(r), v) }) }) {
		e.directory.giveNames(s.Vassals)
		reply(w, http.StatusOK, s)
		return
	}
	fail(w, http.StatusServiceUnavailable, "the emperor is stopping")
}

func (e *Emperor) serveVassal(w http.ResponseWriter, r *http.Request) {
	var found []api.Vassal
	e.withVassal(w, r, r.PathValue("name"), func(v *vassal) (int, any) {
		found = append(found, e.describe(v))
		return http.StatusOK, &found[0]
	}, func() { e.directory.giveNames(found) })
}

// withVassal answers with what f says of the vassal. A vassal that the peer may not see is not there.
// What is left to do outside the loop, later does.
func (e *Emperor) withVassal(w http.ResponseWriter, r *http.Request, name string, f func(*vassal) (int, any), later ...func()) {
	code, body := http.StatusServiceUnavailable, any(api.Failure{Error: "the emperor is stopping"})
	e.inLoop(r, func() {
		v := e.vassals[name]
		switch {
		case v == nil:
			code, body = http.StatusNotFound, api.Failure{Error: fmt.Sprintf("there is no vassal %q; see: emperorctl status", name)}
		case !e.mayVassal(peer(r), v):
			code, body = http.StatusForbidden, api.Failure{Error: fmt.Sprintf("the vassal %q is not yours; ask as its owner or as root", name)}
		default:
			code, body = f(v)
		}
	})
	for _, do := range later {
		do()
	}
	reply(w, code, body)
}

func (e *Emperor) serveReloadAll(w http.ResponseWriter, r *http.Request) {
	if !mayAll(peer(r)) {
		fail(w, http.StatusForbidden, "reloading all vassals is for root; name your own: emperorctl reload NAME")
		return
	}
	n := 0
	if !e.inLoop(r, func() { n = e.reloadAll() }) {
		fail(w, http.StatusServiceUnavailable, "the emperor is stopping")
		return
	}
	reply(w, http.StatusOK, api.Answer{OK: true, Message: fmt.Sprintf("reloading %d vassals, a few at a time", n)})
}

func (e *Emperor) serveVerb(w http.ResponseWriter, r *http.Request) {
	name, verb := cutLast(r.PathValue("rest"))
	event, ok := map[string]Event{"reload": AskReload{}, "stop": AskStop{}, "start": AskStart{}}[verb]
	if !ok {
		fail(w, http.StatusNotFound, "there is no command %q; there are reload, stop and start", verb)
		return
	}
	e.withVassal(w, r, name, func(v *vassal) (int, any) {
		if v.life.State == Stopping && v.life.Then == Absent {
			return http.StatusConflict, api.Failure{Error: fmt.Sprintf("%s is being removed", name)}
		}
		if verb == "start" && v.life.Serving != 0 {
			return http.StatusOK, api.Answer{OK: true, Message: name + " is " + v.life.State.String() + " already"}
		}
		e.about(v).Info("operator asks", zap.String(fieldVassal, name), zap.String("command", verb), zap.Uint32("uid", peer(r).Uid))
		v.caller = tenant
		if mayAll(peer(r)) {
			v.caller = operator
		}
		e.step(v, event)
		v.caller = nobody
		return http.StatusOK, api.Answer{OK: true, Message: name + ": " + v.life.State.String()}
	})
}

// cutLast splits "a/b/verb" into "a/b" and "verb": the names of vassals of a glob are paths.
func cutLast(path string) (name, verb string) {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i], path[i+1:]
		}
	}
	return "", path
}
