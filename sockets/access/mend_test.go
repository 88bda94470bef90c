package access

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// run runs the commands as an operator would: with sh, as root, in this order.
func run(t *testing.T, list []Obstacle) {
	t.Helper()
	for _, o := range list {
		for _, command := range o.Commands {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			out, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput()
			cancel()
			if err != nil {
				t.Errorf("%s: %v: %s\n\tfor: %s", command, err, out, o.Cause)
			}
		}
	}
}

// rights are what everybody has at every file and folder of a tree, read by read, at the inode alone.
func (f *forest) rights(users []User) map[string]Right {
	all := make(map[string]Right)
	for _, p := range f.all {
		n, err := Look(p)
		f.check(err)
		for i, u := range users {
			for _, one := range []Right{Read, Write, Run} {
				if n.Lacks(u, one) == 0 {
					all[fmt.Sprintf("%s\x00%d", p, i)] |= one
				}
			}
		}
	}
	return all
}

// TestCommandsMendAndGiveNobodyElseMore breaks trees at random, runs what Walk prints and asks again, with setfacl and without.
func TestCommandsMendAndGiveNobodyElseMore(t *testing.T) {
	needRoot(t)
	for _, tool := range []string{"setfacl", "setpriv", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: run cmd/e2e/install.sh", err)
		}
	}
	trees := 60
	if testing.Short() {
		trees = 20
	}
	mended, withACL, asOwner, pinned := 0, 0, 0, 0
	for seed := range uint64(trees) {
		for _, tools := range []func(string) bool{installed, func(string) bool { return false }} {
			f := plant(t, seed+10000)
			for range 4 {
				u := f.user()
				path := f.path()
				want := f.right(path)
				k := walker{user: u, want: want, tools: tools}
				k.walk(path)
				if len(k.obstacles) == 0 || hopeless(k.obstacles) {
					continue
				}
				bystanders := []User{{UID: baseID + 50, GID: baseID + 50}, f.user(), f.user()}
				before := f.rights(bystanders)
				run(t, k.obstacles)
				mended++
				text := commands(k.obstacles)
				if strings.Contains(text, "setfacl") {
					withACL++
				}
				if strings.Contains(text, "setpriv") {
					asOwner++
				}
				if strings.Contains(text, "/proc/self/fd/3") {
					pinned++
				}
				q := []question{{path: path, want: want}}
				interview(t, u, q)
				if len(q[0].found) > 0 || q[0].said != nil {
					t.Errorf("seed %d: %s as %+v, to %s: after\n%s\nthe kernel says %v, Walk says %s\n%s", seed, path, u, want, text, q[0].said, causes(q[0].found), f.list())
				}
				after := f.rights(bystanders)
				for key, now := range after {
					if gain := now &^ before[key]; gain != 0 {
						place, who, _ := strings.Cut(key, "\x00")
						b := bystanders[who[0]-'0']
						f.justify(k.obstacles, place, b, u, gain, seed)
					}
				}
				if t.Failed() {
					return
				}
			}
			f.fell()
		}
	}
	t.Logf("%d mended, %d of them with an ACL, %d as the owner, %d on a descriptor", mended, withACL, asOwner, pinned)
	if mended < trees/2 || withACL < trees/10 || asOwner == 0 || pinned < trees/10 {
		t.Errorf("only %d mended, %d with an ACL, %d as the owner, %d on a descriptor: the trees prove little", mended, withACL, asOwner, pinned)
	}
}

// justify accepts what a bystander gained: the same user; through a group that the command names; or x on a folder without ACLs.
func (f *forest) justify(list []Obstacle, place string, b, u User, gain Right, seed uint64) {
	f.t.Helper()
	n, err := Look(place)
	f.check(err)
	for _, o := range list {
		if o.Path != place {
			continue
		}
		text := strings.Join(o.Commands, "\n")
		switch {
		case b.UID == u.UID, b.UID == n.UID && strings.Contains(text, "chmod u+"):
			return
		case strings.Contains(text, "chgrp") && b.in(u.GID): // the user's own group, as far as the user goes
			return
		case strings.Contains(text, "chmod g") && b.in(n.GID) && gain.bits()&^o.Lacks.bits() == 0:
			return
		case strings.Contains(text, "chmod o+x") && n.Mode.IsDir() && gain == Run:
			return
		}
	}
	f.t.Errorf("seed %d: %+v gained %s at %s (%s)\n%s", seed, b, gain, place, n, commands(list))
}

// hopeless tells whether something is in the way that no command is printed for.
func hopeless(list []Obstacle) bool {
	for _, o := range list {
		if len(o.Commands) == 0 {
			return true
		}
	}
	return false
}

func commands(list []Obstacle) string {
	var lines []string
	for _, o := range list {
		lines = append(lines, o.Commands...)
	}
	return strings.Join(lines, "\n")
}

// wide are changes that let everybody read or write.
var wide = regexp.MustCompile(`chmod (-R )?([0-7]{3,4}\b|[ugo]*a|o=|o\+x?[rw])|(chmod|chown|chgrp|setfacl) -R|setfacl .*[ ,]o::`)

func TestNoCommandOpensAnythingToAll(t *testing.T) {
	needRoot(t)
	for _, bad := range []string{"chmod 777 /a", "chmod 666 /a", "chmod o+w /a", "chmod o+rx /a", "chmod a+r /a", "setfacl -m o::r /a", "chmod -R g+r /a"} {
		if !wide.MatchString(bad) {
			t.Errorf("%s is not seen", bad)
		}
	}
	for seed := range uint64(100) {
		f := plant(t, seed+20000)
		for range 10 {
			path := f.path()
			for _, tools := range []func(string) bool{installed, func(string) bool { return false }} {
				k := walker{user: f.user(), want: f.right(path), tools: tools}
				k.walk(path)
				for _, o := range k.obstacles {
					for _, c := range o.Commands {
						if wide.MatchString(strings.ReplaceAll(c, f.root, "")) {
							t.Errorf("seed %d: %s", seed, c)
						}
						if strings.Contains(c, "chmod o+x") {
							if fi, err := os.Stat(o.Path); err != nil || !fi.IsDir() {
								t.Errorf("seed %d: %s, which is no folder", seed, c)
							}
						}
					}
				}
			}
		}
		f.fell()
	}
}
