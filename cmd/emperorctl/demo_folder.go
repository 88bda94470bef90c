package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/emperord/emperord/configs/dist"
)

// demoUsers are users that systems have without being asked; the first two that exist are the tenants of the demo.
var demoUsers = []string{"nobody", "daemon", "www-data", "bin", "games", "mail"}

// A demoFolder is the temporary folder of a demo:
//
//	vassals/  the vassal files
//	apps/     their applications
//	run/      their sockets
//	bin/      the programs, if tenants cannot reach them where they are
type demoFolder struct {
	path         string
	vassalFolder string
	sockets      string
	control      string // the emperor's control socket
	log          string // the emperor's log
	emperorctl   string // this program
	emperord     string // the program to run
	tenants      []tenant
	vassals      []demoVassal
}

// A tenant is a user that vassals run as.
type tenant struct {
	name     string
	uid, gid int
}

// A demoVassal is one example: the file in configs/dist it is made of, and whose it is.
type demoVassal struct {
	name, from string
	owner      int // index of a tenant
}

// newDemoFolder makes the folder with everything in it. Where it fails, it leaves nothing.
func newDemoFolder(ctx context.Context) (*demoFolder, error) {
	d := &demoFolder{}
	var err error
	if os.Geteuid() == 0 {
		if d.tenants, err = demoTenants(); err != nil {
			return nil, err
		}
	}
	if d.path, err = os.MkdirTemp(demoBase(), "emperord-demo-"); err != nil {
		return nil, fmt.Errorf("cannot make a folder for the demo: %w; name another place with TMPDIR", err)
	}
	if err := d.fill(ctx); err != nil {
		return nil, errors.Join(err, d.remove())
	}
	return d, nil
}

func (d *demoFolder) fill(ctx context.Context) error {
	d.vassalFolder = filepath.Join(d.path, "vassals")
	d.sockets = filepath.Join(d.path, "run")
	d.control = filepath.Join(d.path, "control.sock")
	d.log = filepath.Join(d.path, "emperord.log")
	if err := os.Chmod(d.path, 0o755); err != nil {
		return fmt.Errorf("cannot open the folder to the tenants: %w", err)
	}
	if err := d.programs(); err != nil {
		return err
	}
	d.vassals = []demoVassal{{"plain", "plain", 0}, {"flask", "flask", 1}, {"broken", "broken", 0}}
	if !d.flaskImports(ctx) {
		d.vassals[1] = demoVassal{"second", "plain", 1}
	}
	return d.write()
}

func (d *demoFolder) remove() error {
	if err := os.RemoveAll(d.path); err != nil {
		return fmt.Errorf("cannot remove the demo's folder: %w; remove it: rm -r %s", err, d.path)
	}
	return nil
}

// demoTenants finds two users that are not root.
func demoTenants() ([]tenant, error) {
	var found []tenant
	for _, name := range demoUsers {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && uid > 0 && gid > 0 && (len(found) == 0 || found[0].uid != uid) {
			found = append(found, tenant{name, uid, gid})
		}
		if len(found) == 2 {
			return found, nil
		}
	}
	return nil, fmt.Errorf("found no two users besides root among %q; run the demo as an ordinary user", demoUsers)
}

// demoBase is where temporary folders go: TMPDIR, or /tmp where a tenant could not reach TMPDIR.
func demoBase() string {
	base := os.TempDir()
	if os.Geteuid() == 0 && !openToAll(base) {
		return "/tmp"
	}
	return base
}

// openToAll tells whether every user may enter folder path (or run program path) and all folders above it.
func openToAll(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for _, part := range append(parents(real), real) {
		info, err := os.Stat(part)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
	}
	return true
}

// programs finds emperord and vassald, and copies them where tenants can run them if need be.
func (d *demoFolder) programs() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot tell where emperorctl is: %w", err)
	}
	d.emperorctl = self
	folder := filepath.Dir(self)
	reachable := true
	for _, name := range []string{"emperord", "vassald"} {
		program := filepath.Join(folder, name)
		if _, err := os.Stat(program); err != nil {
			return fmt.Errorf("cannot find %s beside emperorctl: %w; build all three: make build", name, err)
		}
		reachable = reachable && (d.tenants == nil || openToAll(program))
	}
	if !reachable {
		bin := filepath.Join(d.path, "bin")
		if err := makeFolder(bin); err != nil {
			return err
		}
		for _, name := range []string{"emperord", "vassald"} {
			program, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				return fmt.Errorf("cannot copy %s to where tenants can run it: %w", name, err)
			}
			if err := writeFile(filepath.Join(bin, name), program, 0o755); err != nil {
				return err
			}
		}
		folder = bin
	}
	d.emperord = filepath.Join(folder, "emperord")
	return nil
}

// flaskImports asks the python3 that a tenant will get: the first one in PATH that it can run.
func (d *demoFolder) flaskImports(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, folder := range filepath.SplitList(os.Getenv("PATH")) {
		python := exec.CommandContext(ctx, filepath.Join(folder, "python3"), "-c", "import flask")
		python.Dir = "/"
		if d.tenants != nil {
			t := d.tenants[1]
			python.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(t.uid), Gid: uint32(t.gid)}}
		}
		err := python.Run()
		if err == nil {
			return true
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return false // it runs, and has no Flask
		}
	}
	return false
}

// write makes folders and files. The emperor does not run yet, so none of them is seen half-written.
func (d *demoFolder) write() error {
	apps := filepath.Join(d.path, "apps")
	for _, folder := range []string{d.vassalFolder, apps, d.sockets} {
		if err := makeFolder(folder); err != nil {
			return err
		}
	}
	sources, err := fs.Glob(dist.Files, "apps/*")
	if err != nil {
		return err
	}
	for _, source := range sources {
		data, err := dist.Files.ReadFile(source)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(d.path, source), data, 0o644); err != nil {
			return err
		}
	}
	for _, v := range d.vassals {
		data, err := dist.Files.ReadFile("vassals/" + v.from + ".ini")
		if err != nil {
			return err
		}
		data = bytes.Replace(data, []byte("\nsockets = /run/uwsgi\n"), []byte("\nsockets = "+d.sockets+"\n"), 1)
		file := filepath.Join(d.vassalFolder, v.name+".ini")
		if err := writeFile(file, data, 0o644); err != nil {
			return err
		}
		if d.tenants == nil {
			continue
		}
		t := d.tenants[v.owner]
		if err := os.Chown(file, t.uid, t.gid); err != nil {
			return fmt.Errorf("cannot give a vassal file to its tenant: %w", err)
		}
	}
	return nil
}

// makeFolder and writeFile make things that tenants may read, whatever the umask is.
func makeFolder(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return fmt.Errorf("cannot make a folder of the demo: %w", err)
	}
	return openTo(path, 0o755)
}

func writeFile(path string, data []byte, mode fs.FileMode) error {
	if err := os.WriteFile(path, data, mode); err != nil {
		return fmt.Errorf("cannot write a file of the demo: %w", err)
	}
	return openTo(path, mode)
}

func openTo(path string, mode fs.FileMode) error {
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("cannot open a file of the demo to its tenants: %w", err)
	}
	return nil
}
