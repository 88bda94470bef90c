package emperor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/emperord/emperord/configs"
)

// smallVassald is a vassald that weighs next to nothing: a thousand of them fit a small machine. Those
// whose names begin with "slow" take longer to load than a turn lasts.
const smallVassald = `#!/bin/sh
base=${3%.ini}
if [ "$1" = --resolve ]; then
	echo '{"version":1,"settings":[],"sockets":[{"protocol":"uwsgi","address":"'"${PWD%/vassals}/run/$base"'.sock","place":{"file":"x"}}]}'
	exit
fi
case "$2" in slow*) sleep 2 ;; esac
printf '\005' >&"$UWSGI_EMPEROR_FD"
exec head -c1 <&"$UWSGI_EMPEROR_FD" >/dev/null
`

// TestAThousandVassals starts as many at once, more of them slow than have a turn at a time, and asks for one meanwhile;
// then all are reloaded.
func TestAThousandVassals(t *testing.T) {
	n := 1000
	if raced { // each fork is then six times as dear
		n = 300
	}
	slow := 2 * parallel()
	m := found(t, func(c *configs.Emperor) {
		dir := filepath.Dir(c.Sources[0])
		mustDo(t, os.WriteFile(dir+"/bin/vassald.new", []byte(smallVassald), 0o755), os.Rename(dir+"/bin/vassald.new", dir+"/bin/vassald"))
		for i := range n {
			name, uid := fmt.Sprintf("%s/shop%04d.ini", c.Sources[0], i), shopID
			if i < slow {
				name = fmt.Sprintf("%s/slow%04d.ini", c.Sources[0], i)
			} else if i == n-1 {
				name = c.Sources[0] + "/zz.ini"
			}
			mustDo(t, os.WriteFile(name, []byte("[uwsgi]\n"), 0o644), os.Chown(name, uid, uid))
		}
		c.StartTimeout = time.Minute
	})
	const pause = 500 * time.Millisecond // a look at all of them costs the emperor, too
	ctx := context.Background()
	count := func() (accepting, second int) {
		s, err := m.client().Status(ctx)
		if err != nil {
			return 0, 0
		}
		for _, v := range s.Vassals {
			switch v.State {
			case "accepting":
				accepting++
			case "resolving", "starting", "reloading":
			default:
				t.Fatalf("%s is %s: %s", v.Name, v.State, v.Reason)
			}
			if v.State == "reloading" || len(v.Generations) > 1 {
				second++
			}
		}
		return accepting, second
	}
	begin := time.Now()
	for end := begin.Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := m.client().Start(ctx, "zz.ini"); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	for end := begin.Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if v, err := m.status("zz.ini"); err == nil && v.State == "accepting" {
			accepting, _ := count()
			if accepting > n/2 {
				t.Errorf("what an operator asked for, the last of all, came after %d others", accepting)
			}
			t.Logf("what was asked for accepted after %s, when %d did", time.Since(begin).Round(time.Millisecond), accepting)
			break
		}
		if time.Now().After(end) {
			t.Fatal("what was asked for does not accept")
		}
	}
	for end := begin.Add(2 * time.Minute); ; time.Sleep(pause) {
		if accepting, _ := count(); accepting == n {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d of %d accept", accepting, n)
		}
	}
	t.Logf("all accepted after %s", time.Since(begin).Round(time.Millisecond))

	started := func() (runs int) {
		for _, v := range must(m.client().Status(ctx)).Vassals {
			if len(v.Generations) > 0 && v.Generations[0].Since.After(begin) {
				runs++
			}
		}
		return runs
	}
	begin = time.Now()
	mustDo(t, unix.Kill(os.Getpid(), unix.SIGHUP))
	most := 0
	for end := begin.Add(3 * time.Minute); ; time.Sleep(pause) {
		accepting, second := count()
		if most = max(most, second); accepting == n && started() == n {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d accept, %d are new", accepting, started())
		}
	}
	t.Logf("all were reloaded after %s, at most %d at a time", time.Since(begin).Round(time.Millisecond), most)
	if most > parallel() {
		t.Errorf("%d second generations at a time, want at most %d", most, parallel())
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
