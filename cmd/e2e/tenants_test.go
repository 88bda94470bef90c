package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const plainVassal = `plugin = python3
chdir = DIR/srv/plain
module = plain:application
master = true
processes = 2
socket = DIR/run/plain.sock
chmod-socket = 660
chown-socket = emperord-t-shop:www-data
buffer-size = 6553
vacuum = true
`

// django makes a project with Django's own tool, as its tenant would.
func (s *site) django(owner string) {
	s.t.Helper()
	uid, gid := ids(s.t, owner)
	dir := s.mkdir("srv/django", uid, gid)
	for _, args := range [][]string{{"-m", "django", "startproject", "site1", dir}, {dir + "/manage.py", "migrate", "-v", "0"}} {
		cmd := exec.Command("/usr/bin/setpriv", append([]string{"--reuid", owner, "--regid", owner, "--clear-groups", "/usr/bin/python3"}, args...)...)
		cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir}
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	s.write("srv/django/site1/settings_test.py", "from .settings import *\nALLOWED_HOSTS = ['*']\nSTATIC_ROOT = '/nonexistent'\n", owner)
}

func TestDjangoFlaskAndPlainAsTwoTenantsBehindNginx(t *testing.T) {
	s := newSite(t)
	s.django(shop)
	s.app("plain", "plain", shop)
	s.app("flaskapp", "flask", blog)
	s.vassal("plain.ini", shop, plainVassal)
	s.vassal("django.ini", shop, `plugins = python3
chdir = DIR/srv/django
module = site1.wsgi:application
env = DJANGO_SETTINGS_MODULE=site1.settings_test
processes = 2
socket = DIR/run/django.sock
chmod-socket = 660
chown-socket = emperord-t-shop:www-data
`)
	s.vassal("flask.ini", blog, `plugin = python3
chdir = DIR/srv/flask
wsgi-file = flaskapp.py
callable = app
socket = DIR/run/flask.sock
chmod-socket = 660
chown-socket = :www-data
`)
	e := s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock", "django": s.dir + "/run/django.sock", "flask": s.dir + "/run/flask.sock"})

	if body := s.get("plain", "/"); body != "hello from ?\n" {
		t.Errorf("plain: %q", body)
	}
	if body := s.get("django", "/"); !strings.Contains(body, "The install worked successfully") {
		t.Errorf("django: %.200q", body)
	}
	if a, err := s.request("django", "GET", "/admin/", nil); err != nil || a.status != 302 || !strings.HasPrefix(a.header.Get("Location"), "/admin/login/") {
		t.Errorf("django's admin: %+v, %v", a, err)
	}
	s.djangoLogin()
	blogUID, _ := ids(t, blog)
	if body := s.get("flask", "/"); body != fmt.Sprintf("flask as uid %d, visit 1", blogUID) {
		t.Errorf("flask: %q", body)
	}
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	_ = m.WriteField("name", "Ada")
	f, _ := m.CreateFormFile("file", "f.bin")
	_, _ = f.Write(make([]byte, 300_000))
	_ = m.Close()
	if a, err := s.request("flask", "POST", "/form", &form, "Content-Type", m.FormDataContentType()); err != nil || a.body != "Ada sent 300000 bytes" {
		t.Errorf("flask's form: %+v, %v", a, err)
	}

	www := groupID(t, "www-data")
	for _, c := range []struct{ name, owner string }{{"plain", shop}, {"django", shop}, {"flask", blog}} {
		uid, _ := ids(t, c.owner)
		var st unix.Stat_t
		if err := unix.Lstat(s.dir+"/run/"+c.name+".sock", &st); err != nil {
			t.Fatal(err)
		}
		if int(st.Uid) != uid || int(st.Gid) != www || st.Mode != unix.S_IFSOCK|0o660 {
			t.Errorf("the socket of %s: %d:%d %o", c.name, st.Uid, st.Gid, st.Mode)
		}
	}
	e.checkTenants(map[string]string{"plain.ini": shop, "django.ini": shop, "flask.ini": blog})
}

// djangoLogin shows that Django's sessions, CSRF and database work through the whole chain.
func (s *site) djangoLogin() {
	s.t.Helper()
	a, err := s.request("django", "GET", "/admin/login/", nil)
	if err != nil || a.status != 200 {
		s.t.Fatalf("login page: %+v, %v", a.status, err)
	}
	_, rest, _ := strings.Cut(a.body, `name="csrfmiddlewaretoken" value="`)
	token, _, _ := strings.Cut(rest, `"`)
	cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	form := "csrfmiddlewaretoken=" + token + "&username=nobody&password=wrong&next=%2Fadmin%2F"
	a, err = s.request("django", "POST", "/admin/login/", strings.NewReader(form), "Content-Type", "application/x-www-form-urlencoded", "Cookie", cookie)
	if err != nil || a.status != 200 || !strings.Contains(a.body, "Please enter the correct username and password") {
		s.t.Errorf("login: status %d, %v: %.300q", a.status, err, a.body)
	}
}

// checkTenants reads from /proc who every process of every vassal is and what it has open.
func (e *emperor) checkTenants(owners map[string]string) {
	t := e.site.t
	t.Helper()
	seen := map[string]int{}
	for _, p := range processesIn(e.site.dir) {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.pid))
		if err != nil {
			continue
		}
		vars := map[string]string{}
		for _, kv := range strings.Split(string(env), "\x00") {
			k, v, _ := strings.Cut(kv, "=")
			vars[k] = v
		}
		name := vars["EMPERORD_VASSAL"]
		owner, known := owners[name]
		if !known {
			t.Errorf("a process of an unknown vassal %q: %+v", name, p)
			continue
		}
		seen[name]++
		uid, gid := ids(t, owner)
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{
			fmt.Sprintf("Uid:\t%d\t%d\t%d\t%d\n", uid, uid, uid, uid), fmt.Sprintf("Gid:\t%d\t%d\t%d\t%d\n", gid, gid, gid, gid),
			fmt.Sprintf("Groups:\t%d \n", gid), "CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapAmb:\t0000000000000000\n",
		} {
			if !strings.Contains(string(status), want) {
				t.Errorf("%s, %s %d: /proc/status lacks %q", name, p.comm, p.pid, want)
			}
		}
		if vars["HOME"] == "/root" || vars["USER"] != owner {
			t.Errorf("%s: HOME=%s USER=%s", name, vars["HOME"], vars["USER"])
		}
		e.checkFDs(name, p)
	}
	for name := range owners {
		if seen[name] < 3 { // vassald, host, at least one worker
			t.Errorf("%s has %d processes", name, seen[name])
		}
	}
}

// checkFDs knows every kind of descriptor that a tenant's process may have; anything else is a leak of root's.
func (e *emperor) checkFDs(name string, p process) {
	t := e.site.t
	t.Helper()
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
	if err != nil {
		return
	}
	listeners := listeningInodes()
	own := strings.TrimSuffix(name, ".ini")
	var sockets []string
	for _, n := range names {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", p.pid, n.Name()))
		if err != nil {
			continue
		}
		switch {
		case to == "/dev/null", strings.HasPrefix(to, "pipe:"), strings.HasPrefix(to, "anon_inode:"):
		case strings.HasPrefix(to, "/memfd:"), strings.HasPrefix(to, "socket:"):
			if path, listening := listeners[to]; listening {
				sockets = append(sockets, path)
			}
		case strings.HasSuffix(to, "db.sqlite3"), to == "/dev/urandom":
		default:
			t.Errorf("%s: %s %d has %s open as %s", name, p.comm, p.pid, to, n.Name())
		}
	}
	if want := []string{e.site.dir + "/run/" + own + ".sock"}; !slices.Equal(sockets, want) {
		t.Errorf("%s: %s %d has the listeners %v, want %v", name, p.comm, p.pid, sockets, want)
	}
}

// listeningInodes maps "socket:[inode]" to the path, for all listening Unix sockets.
func listeningInodes() map[string]string {
	all := map[string]string{}
	text, _ := os.ReadFile("/proc/net/unix")
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) == 8 && f[3] == "00010000" { // __SO_ACCEPTCON
			all["socket:["+f[6]+"]"] = f[7]
		}
	}
	return all
}

func TestSupplementaryGroupsAreTheTenants(t *testing.T) {
	s := newSite(t)
	if out, err := exec.Command("usermod", "-a", "-G", "games", shop).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("gpasswd", "-d", shop, "games").Run() })
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal)
	s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	var got struct {
		UID    int   `json:"uid"`
		Groups []int `json:"groups"`
		Cap    string
	}
	if err := json.Unmarshal([]byte(s.get("plain", "/who")), &got); err != nil {
		t.Fatal(err)
	}
	uid, gid := ids(t, shop)
	want := []int{groupID(t, "games"), gid}
	slices.Sort(want)
	if got.UID != uid || !slices.Equal(got.Groups, want) || strings.Trim(got.Cap, "0") != "" {
		t.Errorf("%+v, want uid %d and groups %v", got, uid, want)
	}
}

func TestRunFolderIsMadeAfterAReboot(t *testing.T) {
	s := newSite(t)
	s.app("plain", "plain", shop)
	s.vassal("plain.ini", shop, plainVassal)
	e := s.emperor("--emperor-tyrant")
	s.eventually(10*time.Second, "socket", func() error { _, err := os.Lstat(s.dir + "/run/plain.sock"); return err })
	e.stop()
	if err := os.RemoveAll(s.dir + "/run"); err != nil {
		t.Fatal(err)
	}
	s.emperor("--emperor-tyrant")
	s.nginx(map[string]string{"plain": s.dir + "/run/plain.sock"})
	s.get("plain", "/")
}
