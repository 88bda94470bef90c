package emperor

import (
	"net/http"
	"os"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/protocol/api"
)

// reloads obeys SIGHUP: where the program's file is another one by now, that program takes over first, and its vassald runs
// the new generations. So a new version is in use after what everybody does anyway: install it, systemctl reload.
func (e *Emperor) reloads() {
	if e.upgrade.stage == idle && e.newProgram() {
		e.upgrade.reload = true
		e.announceReload() // whoever waits for it must not take this moment for its end
		if _, err := e.beginUpgrade(""); err != nil {
			e.log.Error("the program that was installed meanwhile does not take over", zap.String(fieldReason, err.Error()))
		}
		return // goOn reloads
	}
	e.reloadEverything()
}

func (e *Emperor) reloadEverything() {
	e.announceReload()
	e.log.Info("reloading all vassals, a few at a time", zap.Int("vassals", e.reloadAll()))
}

// mayUpgrade: whoever names a program for a process that may become any user, must be root. The emperor's own user, who is
// a tenant's perhaps, may only where the emperor has nothing that this user has not.
func (e *Emperor) mayUpgrade(peer *unix.Ucred) bool {
	return peer != nil && (peer.Uid == 0 || e.powers == 0 && int(peer.Uid) == os.Geteuid())
}

func (e *Emperor) serveUpgrade(w http.ResponseWriter, r *http.Request) {
	if !e.mayUpgrade(peer(r)) {
		fail(w, http.StatusForbidden, "an upgrade is for root")
		return
	}
	var begun api.Upgrade
	var err error
	if !e.inLoop(r, func() { begun, err = e.beginUpgrade(r.URL.Query().Get("program")) }) {
		fail(w, http.StatusServiceUnavailable, "the emperor is stopping")
		return
	}
	if err != nil {
		fail(w, http.StatusConflict, "%s", err)
		return
	}
	reply(w, http.StatusOK, begun)
}

func (e *Emperor) serveUpgraded(w http.ResponseWriter, r *http.Request) {
	if !mayAll(peer(r)) {
		fail(w, http.StatusForbidden, "an upgrade is for root")
		return
	}
	var last api.Upgrade
	if !e.inLoop(r, func() { last = e.upgrade.last }) {
		fail(w, http.StatusServiceUnavailable, "the emperor is stopping")
		return
	}
	reply(w, http.StatusOK, last)
}
