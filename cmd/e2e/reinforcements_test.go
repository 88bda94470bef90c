package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emperord/emperord/protocol/stats"
)

// Real workers that are all busy get a reinforcement, and it answers on the same socket: for either reason to call for it.
func TestABusyVassalIsReinforced(t *testing.T) {
	for _, sos := range []string{"vassal-sos = 1", "vassal-sos-backlog = 2"} {
		t.Run(strings.Fields(sos)[0], func(t *testing.T) {
			s := newSite(t)
			uid, gid := ids(t, shop)
			s.mkdir("srv/slow", uid, gid)
			s.write("srv/slow/slow.py", "import os, time\ndef application(environ, start_response):\n    time.sleep(0.3)\n    start_response('200 OK', [])\n    return [str(os.getppid()).encode()]\n", shop)
			common := "plugin = python3\nchdir = DIR/srv/slow\nmodule = slow:application\nprocesses = 1\n"
			s.vassal("slow.ini", shop, common+"socket = DIR/run/slow.sock\nchmod-socket = 666\n"+sos+"\n[zerg]\nzerg = /run/anywhere.sock\n"+common)
			s.nginx(map[string]string{"slow": s.dir + "/run/slow.sock"})
			s.emperor("--emperor-tyrant", "--emperor-broodlord", "1", "--emperor-stats", s.dir+"/stats.sock")
			stop := make(chan struct{})
			var clients sync.WaitGroup
			var mu sync.Mutex
			hosts, failed := map[string]int{}, ""
			s.eventually(30*time.Second, "an answer", func() error {
				a, err := s.request("slow", "GET", "/", nil)
				if err == nil && a.status != 200 {
					err = fmt.Errorf("status %d", a.status)
				}
				return err
			})
			for range 6 {
				clients.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						a, err := s.request("slow", "GET", "/", nil)
						mu.Lock()
						if err != nil || a.status != 200 {
							failed = fmt.Sprint(a.status, err)
						}
						hosts[a.body]++
						mu.Unlock()
					}
				})
			}
			s.eventually(60*time.Second, "answers of two hosts", func() error {
				mu.Lock()
				defer mu.Unlock()
				if len(hosts) < 2 {
					return errors.New("one host answers")
				}
				return nil
			})
			close(stop)
			clients.Wait()
			if failed != "" {
				t.Errorf("a request failed: %s", failed)
			}
			doc := s.document(s.dir + "/stats.sock")
			i := slices.IndexFunc(doc.Vassals, func(v stats.Vassal) bool { return v.Zerg == 1 })
			if len(doc.Vassals) != 2 || i < 0 || doc.Vassals[i].ID != "slow.ini:zerg" || doc.Vassals[i].UID != uid {
				t.Errorf("the statistics: %+v", doc.Vassals)
			}
		})
	}
}
