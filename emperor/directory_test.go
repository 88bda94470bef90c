package emperor

import (
	"slices"
	"testing"
	"time"
)

func TestNsswitchTellsWhetherSomebodyElseKnowsUsers(t *testing.T) {
	for text, remote := range map[string]bool{
		"": false,
		"passwd: files systemd\ngroup:\tfiles systemd # sss\nhosts: files dns\n": false,
		"passwd: compat\ninitgroups: files [SUCCESS=continue] db":                false,
		"passwd: files sss\n":                                true,
		"passwd: files\ngroup: files [NOTFOUND=return] ldap": true,
		"initgroups: files winbind":                          true,
		"shadow: files sss\nnetgroup: nis":                   false,
	} {
		if d := newDirectory([]byte(text)); d.remote != remote {
			t.Errorf("%q: %v", text, d.remote)
		}
	}
}

func TestDirectoryBelievesWhatFitsTheQuestion(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		q      question
		text   string
		person person
		gid    int
		groups []int
		found  bool
	}{
		{q: question{"passwd", "ada"}, text: "ada:*:70001:70002:Ada L:/home/ada:/bin/sh\n", person: person{"ada", 70001, 70002, "/home/ada"}, found: true},
		{q: question{"passwd", "70001"}, text: "ada:*:70001:70002::/home/ada:/bin/sh\n", person: person{"ada", 70001, 70002, "/home/ada"}, found: true},
		{q: question{"passwd", "ADA"}, text: "ada:*:70001:70002::/:/bin/sh\n", person: person{"ada", 70001, 70002, "/"}, found: true},
		{q: question{"passwd", "70003"}, text: "ada:*:70001:70002::/home/ada:/bin/sh\n"},
		{q: question{"passwd", "eve"}, text: "ada:*:70001:70002::/home/ada:/bin/sh\n"},
		{q: question{"passwd", "ada"}, text: "ada:*:-1:70002::/home/ada:/bin/sh\n"},
		{q: question{"passwd", "ada"}, text: "ada:*:70001\n"},
		{q: question{"passwd", "ada"}, text: ""},
		{q: question{"group", "team"}, text: "team:*:70005:ada,bob\n", gid: 70005, found: true},
		{q: question{"group", "team"}, text: "root:x:0:\n"},
		{q: question{"initgroups", "ada"}, text: "ada                  70002 70005 junk -1\n", groups: []int{70002, 70005}, found: true},
		{q: question{"initgroups", "ada"}, text: "eve 0\n"},
	} {
		d := newDirectory([]byte("passwd: files sss"))
		d.learn(c.q, []byte(c.text), now)
		a := d.recall(c.q)
		if a.person != c.person || a.gid != c.gid || !slices.Equal(a.groups, c.groups) || a.found != c.found {
			t.Errorf("%v %q: %+v", c.q, c.text, a)
		}
		if len(d.open(c.q)) != 0 {
			t.Errorf("%v is asked again at once", c.q)
		}
	}
}

func TestOnlyGoodNamesAreAskedFor(t *testing.T) {
	d := newDirectory([]byte("passwd: files sss"))
	for key, ask := range map[string]bool{"nobody-here": true, "domain users": true, `DOM\ada`: true, "70009": true, "root": false, "0": false, "": false, "-s": false, "a\nb": false, "a:b": false, "x\x00": false} {
		if got := d.open(question{"passwd", key}); (len(got) == 1) != ask {
			t.Errorf("%q: %v", key, got)
		}
	}
	if got := newDirectory(nil).open(question{"passwd", "nobody-here"}); got != nil {
		t.Errorf("asked though nobody else knows users: %v", got)
	}
}

func FuzzDirectory(f *testing.F) {
	f.Add("passwd", "ada", "ada:*:70001:70002::/home/ada:/bin/sh\n")
	f.Add("initgroups", "ada", "ada 1 2 3\n")
	f.Add("group", "team", "team:*:70005:\n")
	f.Fuzz(func(t *testing.T, database, key, text string) {
		d := newDirectory(nil)
		q := question{database, key}
		d.learn(q, []byte(text), time.Now())
		if a := d.recall(q); !a.found && (a.person != person{} || a.gid != 0 || a.groups != nil) || a.gid < 0 || a.person.uid < 0 || a.person.gid < 0 {
			t.Errorf("%+v", a)
		}
	})
}
