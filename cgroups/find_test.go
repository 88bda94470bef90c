package cgroups

import (
	"errors"
	"strings"
	"testing"
)

// Lines as the real files have them.
const (
	hybridGroups = "9:name=systemd:/\n8:pids:/\n4:memory:/process_api/e867\n2:cpuacct,cpu:/\n0::/\n"
	hybridMounts = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n" +
		"39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n" +
		"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
	unifiedMounts = "24 30 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw\n" +
		"30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
)

func TestOwnGroupIsFound(t *testing.T) {
	for _, c := range []struct{ name, groups, mounts, own, v1 string }{
		{"hybrid", hybridGroups, hybridMounts, "/sys/fs/cgroup/unified", "pids memory cpuacct cpu"},
		{"systemd", "0::/system.slice/emperord.service\n", unifiedMounts, "/sys/fs/cgroup/system.slice/emperord.service", ""},
		{"systemd, subgroup", "0::/system.slice/emperord.service/emperord\n", unifiedMounts, "/sys/fs/cgroup/system.slice/emperord.service/emperord", ""},
		{"container with a namespace", "0::/\n", "715 714 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n", "/sys/fs/cgroup", ""},
		{"container without a namespace", "0::/docker/0123/app\n", "715 714 0:26 /docker/0123 /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "/sys/fs/cgroup/app", ""},
		{"the mount's very root", "0::/docker/0123\n", "715 714 0:26 /docker/0123 /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "/sys/fs/cgroup", ""},
		{"a mount of somebody else's part first", "0::/a/b\n", "1 2 0:26 /a/bc /x rw - cgroup2 cgroup rw\n1 2 0:26 /a /y rw - cgroup2 cgroup rw\n", "/y/b", ""},
		{"odd names", "0::/a b:c\\\n", "1 2 0:26 / /mnt/my\\040groups rw - cgroup2 cgroup rw\n", "/mnt/my groups/a b:c\\", ""},
		{"optional fields", "0::/a\n", "1 2 0:26 / /cg rw shared:1 master:2 propagate_from:3 - cgroup2 cgroup rw\n", "/cg/a", ""},
		{"a group that was removed", "0::/a (deleted)\n", "1 2 0:26 / /cg rw - cgroup2 cgroup rw\n", "/cg/a", ""},
	} {
		views, v1, err := find(c.groups, c.mounts)
		if err != nil || len(views) != 1 || views[0].Own != c.own || strings.Join(v1, " ") != c.v1 {
			t.Errorf("%s: %+v, %q, %v; want %s, %q", c.name, views, v1, err, c.own, c.v1)
		}
	}
	for name, c := range map[string][2]string{
		"version 1 only":           {"4:memory:/a\n3:cpu,cpuacct:/\n", hybridMounts},
		"not mounted":              {"0::/a\n", "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"},
		"outside of the namespace": {"0::/../../other\n", unifiedMounts},
		"a mount from outside":     {"0::/a\n", "1 2 0:26 /../.. /cg rw - cgroup2 cgroup rw\n"},
		"not below the mount":      {"0::/ab\n", "1 2 0:26 /a /cg rw - cgroup2 cgroup rw\n"},
		"nothing":                  {"", ""},
		"nonsense":                 {"0:\n0::\n::\n", "- cgroup2\n a - cgroup2 x\n"},
	} {
		var r *Refusal
		if views, _, err := find(c[0], c[1]); !errors.As(err, &r) || r.Remedy == "" {
			t.Errorf("%s: %+v, %v", name, views, err)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add(hybridGroups, hybridMounts)
	f.Add("0::/a\\040b\n", "1 2 0:26 /\\057 /cg\\134 rw - cgroup2 cgroup rw\n")
	f.Fuzz(func(t *testing.T, groups, mounts string) {
		views, _, err := find(groups, mounts)
		if (err == nil) == (len(views) == 0) {
			t.Fatal(views, err)
		}
		for _, v := range views {
			if !strings.HasPrefix(v.Own, v.Mount) && v.Mount[len(v.Mount)-1] != '/' || strings.Contains(v.Own, "/../") {
				if strings.Contains(v.Mount, "..") || strings.Contains(v.Mount, "//") || strings.Contains(v.Mount, "/.") || strings.HasSuffix(v.Mount, "/") {
					continue // no kernel says such a mount point
				}
				t.Fatalf("%+v", v)
			}
		}
	})
}

// TestHostileNames: a vassal's name is a tenant's word, and may be a path.
func TestHostileNames(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{
		"shop.ini", "Shop.ini", "cgroup.procs", "..", ".", "", "\n", "a\nb.ini", "a_b.ini", "a b.ini", "a/b.ini", "/srv/shop/uwsgi.ini", "/srv/shop_uwsgi.ini", "-rf.ini", "~.ini",
		"\xff\xfe.ini", "caf\u00e9.ini", strings.Repeat("a", 255), strings.Repeat("a", 254) + "b", strings.Repeat("\n", 255), strings.Repeat("x/", 2000), "vassal-shop.ini", "g1", "emperord",
		strings.TrimPrefix(groupName("a\nb.ini"), hashed), // as if it were the other's
		groupName("a\nb.ini"),
	} {
		got := groupName(name)
		if len(got) > 160 || strings.ContainsAny(got, "/\n\x00 ") || strings.Trim(got, ".") == "" || !isVassal(got) || got == seat {
			t.Errorf("%q becomes %q", name, got)
		}
		if other, taken := seen[got]; taken {
			t.Errorf("%q and %q have one group, %q", name, other, got)
		}
		seen[got] = name
	}
	if got := groupName("shop.ini"); got != "vassal-shop.ini" {
		t.Error(got)
	}
	if got := groupName("/srv/shop/uwsgi.ini"); !strings.HasPrefix(got, "vassal~") || !strings.HasSuffix(got, "-_srv_shop_uwsgi.ini") {
		t.Error(got)
	}
}

func FuzzGroupName(f *testing.F) {
	f.Add("shop.ini", "a/b")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := groupName(a), groupName(b)
		if (x == y) != (a == b) || len(x) > 160 || strings.ContainsAny(x, "/\n\x00") {
			t.Fatalf("%q → %q, %q → %q", a, x, b, y)
		}
	})
}
