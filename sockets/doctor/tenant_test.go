package doctor

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/emperord/emperord/sockets/access"
)

// TestTenantsTroubleIsMended breaks one thing after the other; after the printed commands nothing is found, and the user itself can do it.
func TestTenantsTroubleIsMended(t *testing.T) {
	for name, c := range map[string]struct {
		broken string // as root, in the folder
		want   string
		cause  string
		proof  string // as the tenant, in the folder
	}{
		"nothing":                               {"true", "", "", "true"},
		"chdir closed":                          {"chmod 700 app; chown 0:0 app", "no-access", "chdir: 61561 may not enter", "cat app/app.py"},
		"folders above closed":                  {"chmod 700 . app; chown 0:0 . app", "no-access", "may not enter", "cat app/app.py"},
		"closed by an ACL":                      {"setfacl -m u:61561:- app; chown 0:0 app", "no-access", "may not enter", "cat app/app.py"},
		"the module is unreadable":              {"chmod 600 app/app.py; chown 0:0 app/app.py", "no-access", "may not read", "cat app/app.py"},
		"the folder may be entered, not listed": {"chmod 711 app; chown 0:0 app", "no-access", "may not read", "cd app && python3 -c 'import app'"},
		"the log belongs to root":               {"touch log/a.log; chmod 600 log/a.log", "no-access", "may not write", "echo x >>log/a.log"},
		"the log is root's, on root's ground":   {"chown 0:0 log; touch log/a.log; chmod 600 log/a.log", "no-access", "may not write", "echo x >>log/a.log"},
		"the log folder is root's":              {"chown 0:0 log", "no-access", "may not write", "echo x >>log/a.log"},
		"the log folder, shut":                  {"chown 0:0 log; chmod 700 log", "no-access", "may not", "echo x >>log/a.log"},
		"the log folder is missing":             {"rmdir log", "missing-folder", "log is not there", "echo x >>log/a.log"},
		"the include is unreadable":             {"chmod 600 common.inc", "no-access", "may not read", "cat common.inc"},
		"the environment is broken":             {"rm venv/bin/python3 venv/bin/python; ln -s /nowhere/python3 venv/bin/python3", "missing-virtualenv", "leads to /nowhere/python3", ""},
		"the environment is not run":            {"chmod 700 venv/bin; chown 0:0 venv/bin", "no-access", "may not enter", "test -x venv/bin/python3"},
		"the module is not there":               {"rm app/app.py", "missing-module", "no module app", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := ground(t)
			sh := func(as []string, script string) error {
				cmd := exec.Command("sh", "-c", "cd "+dir+" && { "+script+"; }")
				if as != nil {
					cmd = exec.Command(as[0], append(as[1:], cmd.Args...)...)
				}
				cmd.Dir = "/"
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Logf("%s: %s", script, out)
				}
				return err
			}
			file := dir + "/shop.ini"
			must(t, os.WriteFile(file, []byte("[uwsgi]\nsocket = /run/uwsgi/x.sock\nchdir = "+dir+"/app\nmodule = app\nhome = "+dir+"/venv\nlogto = "+dir+"/log/a.log\nini = common.inc\n"), 0o644))
			must(t, os.WriteFile(dir+"/common.inc", []byte("[uwsgi]\nprocesses = 2\n"), 0o644))
			must(t, sh(nil, "mkdir app log venv venv/bin; echo 'home = /usr/bin' >venv/pyvenv.cfg; ln -s /usr/bin/python3 venv/bin/python3; ln -s python3 venv/bin/python; echo application=1 >app/app.py; chown -R 61561:61561 app log venv shop.ini"))
			must(t, sh(nil, c.broken))
			look := func() []Finding {
				return (&Examiner{}).Tenant(t.Context(), Tenant{Vassal: "shop.ini", File: file, User: shop})
			}
			list := look()
			seen := map[string]bool{}
			for _, f := range list {
				seen[f.Code] = true
				if !strings.HasPrefix(f.Place, dir) || f.Subject != "shop.ini" {
					t.Errorf("a finding without a place: %+v", f)
				}
				t.Log(f.Place, f.Cause, f.Commands, f.Note)
			}
			if c.want == "" {
				if len(list) > 0 {
					t.Errorf("got %+v", list)
				}
				return
			}
			if !seen[c.want] || !strings.Contains(list[0].Cause, c.cause) {
				t.Fatalf("got %+v; want %s, %s", list, c.want, c.cause)
			}
			if c.proof == "" {
				return // a person has to decide
			}
			as := []string{"setpriv", "--reuid=61561", "--regid=61561", "--clear-groups"}
			if sh(as, c.proof) == nil {
				t.Fatalf("%s works before anything is mended", c.proof)
			}
			mend(t, list)
			if list := look(); len(list) > 0 {
				t.Errorf("after the commands: %+v", list)
			}
			if err := sh(as, c.proof); err != nil {
				t.Errorf("%s, as the tenant: %v", c.proof, err)
			}
		})
	}
}

func TestTenantsUserMayBeANumberOnly(t *testing.T) {
	ground(t)
	m := &machine{user: access.User{Name: "61561", UID: 61561, GID: 61570, Groups: []int{61571}}}
	u, ok := m.User("61561")
	if !ok || u.GID != 61570 || len(u.Groups) != 2 {
		t.Errorf("got %+v, %v", u, ok)
	}
	if _, ok := m.User("no-such-user"); ok {
		t.Error("there is no such user")
	}
}

// TestNoCommandGivesAwayWhatIsNotTheTenants: a tenant writes the file, root runs what the doctor prints.
func TestNoCommandGivesAwayWhatIsNotTheTenants(t *testing.T) {
	dir := ground(t)
	must(t, os.MkdirAll(dir+"/blog", 0o700))
	must(t, os.WriteFile(dir+"/blog/secret.py", nil, 0o600))
	for _, p := range []string{"/blog/secret.py", "/blog"} {
		must(t, os.Chown(dir+p, 61562, 61562))
	}
	must(t, os.Symlink("/etc/shadow", dir+"/innocent.log"))
	for _, lines := range []string{
		"wsgi-file = /etc/shadow", "wsgi-file = " + dir + "/blog/secret.py", "wsgi-file = " + dir + "/innocent.log", "logto = /etc/shadow", "logto = " + dir + "/innocent.log", "logto = /etc/cron.d/job",
		"logto = " + dir + "/blog/secret.py", "pidfile2 = /root/.bashrc", "ini = /etc/shadow", "ini = " + dir + "/blog/secret.py", "chdir = " + dir + "/blog", "pythonpath = " + dir + "/blog", "home = " + dir + "/blog", "logto = /root/x.log",
	} {
		file := dir + "/shop.ini"
		must(t, os.WriteFile(file, []byte("[uwsgi]\nsocket = /run/uwsgi/x.sock\n"+lines+"\n"), 0o644))
		list := (&Examiner{}).Tenant(t.Context(), Tenant{Vassal: "shop.ini", File: file, User: shop})
		for _, f := range list {
			if len(f.Commands) > 0 {
				t.Errorf("%s: %s: %q", lines, f.Cause, f.Commands)
			}
			if f.Note == "" {
				t.Errorf("%s: %s: nobody is told what to do", lines, f.Cause)
			}
		}
		if len(list) == 0 {
			t.Errorf("%s: nothing is found", lines)
		}
	}
}

// TestNoCommandMakesAPlaceOfTheSystemsATenants: "install -d -o shop /etc/systemd/system/ssh.service.d" would make shop root, a
// user or group of a tenant's choice may open more than a socket, and who is in the web server's group reaches every other tenant.
func TestNoCommandMakesAPlaceOfTheSystemsATenants(t *testing.T) {
	dir := ground(t)
	must(t, os.WriteFile(dir+"/app.py", nil, 0o644))
	must(t, os.Mkdir(dir+"/own", 0o755))
	must(t, os.Chown(dir+"/own", shop.UID, shop.GID))
	must(t, os.Symlink("/etc/systemd/system", dir+"/own/link"))
	must(t, os.Lchown(dir+"/own/link", shop.UID, shop.GID))
	file := dir + "/shop.ini"
	find := func(lines string) []Finding {
		t.Helper()
		must(t, os.WriteFile(file, []byte("[uwsgi]\nsocket = /run/uwsgi/x.sock\nwsgi-file = "+dir+"/app.py\n"+lines+"\n"), 0o644))
		must(t, os.Chown(file, shop.UID, shop.GID))
		return (&Examiner{Asked: true, Tyrant: true}).Tenant(t.Context(), Tenant{Vassal: "shop.ini", File: file, User: shop})
	}
	for _, lines := range []string{
		"logto = /etc/systemd/system/emperord-none.service.d/x.conf", "logto = /run/emperord-none.d/x", "logto = /usr/lib/emperord-none/x", "logto = /var/lib/emperord-none/x", "logto = /var/log/nginx/emperord-none/x",
		"logto = " + dir + "/own/link/emperord-none.service.d/x.conf", "home = /etc/emperord-none/venv", "chown-socket = emperord-none:daemon", "chown-socket = " + shop.Name + ":emperord-none",
	} {
		list := find(lines)
		if len(list) == 0 {
			t.Errorf("%s: nothing is found", lines)
		}
		for _, f := range list {
			if len(f.Commands) > 0 || f.Note == "" {
				t.Errorf("%s: %s: %q %s", lines, f.Cause, f.Commands, f.Note)
			}
		}
	}
	// What is the tenant's it makes itself, and what is the applications' root makes.
	if list := find("logto = " + dir + "/own/log/x.log"); len(list) != 1 || strings.Join(list[0].Commands, ";") != "setpriv --reuid=61561 --regid=61561 --clear-groups install -d -m 750 "+dir+"/own/log" {
		t.Errorf("%+v", list)
	} else if mend(t, list); len(find("logto = "+dir+"/own/log/x.log")) != 0 {
		t.Error("the command did not mend it")
	}
	if list := find("logto = /var/log/emperord-none/x.log"); len(list) != 1 || strings.Join(list[0].Commands, ";") != "install -d -o 61561 -g 61561 -m 750 /var/log/emperord-none" {
		t.Errorf("%+v", list)
	}
}
