package configs

import (
	"encoding/csv"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// facts is the list of what the real uWSGI 2.0.21 knows, as measured. It lies beside the project, not in it.
const facts = "../../shared/uwsgi/options.tsv"

// kindOf translates how a value is read, as measured, into a Kind. "own" has no fixed one.
var kindOf = map[string]Kind{
	"bool": Bool, "bool-inverse": BoolInverse, "int": Int, "int-any": Int, "uint64": Uint64, "uint16": Uint16, "megabytes": Megabytes,
	"string": String, "list": List, "plugins, comma separated": Plugins, "name=value": Assignment, "name=template": Assignment,
	"name=host": Assignment, "list key=value": Assignment, "environment K=V": Environment, "environment name": Environment,
	"list of regexps": Regexp, "list regexp+space+value": RegexpValue, "list word+space+regexp": Own, "socket": Socket,
	"socket,crt,key[,ciphers[,ca]]": TLSSocket, "mode": Mode, "user": User, "group": Group, "date format": DateFormat,
	"config file": File, "logic": Logic, "logic end": LogicEnd,
}

// ownKinds are the kinds of options that uWSGI reads in code of their own, where that comes to the same.
var ownKinds = map[string]Kind{
	"shared-socket": Socket, "undeferred-shared-socket": Socket,
	"immediate-uid": User, "immediate-gid": Group, "http-uid": User, "http-gid": Group, "logfile-chmod": Mode,
	"max-vars": Uint64, "mules": Uint64, // no number is refused, unlike that of an Int
	"stop": String, "reload": String, "pause": String, "flock": String, "flock-wait": String, "subscription-algo": String,
	"file-serve-mode": String, "python": String, "php-ini": String,
	"safe-fd": List, "spooler": List, "spooler-external": List, "mule": List, "farm": List, "cron2": List, "unique-cron": List,
	"attach-daemon2": List, "cgi": List, "http": List, "https": List, "https2": List, "http-to-https": List,
	"http-subscription-server": List, "sni": List, "sni-regexp": List, "legion": List, "legion-mcast": List, "legion-node": List,
	"legion-lord": List, "legion-unlord": List, "legion-setup": List, "legion-death": List, "legion-join": List,
	"legion-node-joined": List, "legion-node-left": List, "legion-quorum": List, "legion-scroll": List, "legion-cron": List,
	"unique-legion-cron": List, "cgi-map-helper": Assignment,
}

// TestTableAgreesWithTheRealOne holds the table against what was measured on uWSGI.
func TestTableAgreesWithTheRealOne(t *testing.T) {
	f, err := os.Open(facts)
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("CI") == "" {
		t.Skipf("%s is not there: the table is not held against uWSGI's own", facts)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := csv.NewReader(f)
	in.Comma, in.Comment, in.FieldsPerRecord, in.LazyQuotes = '\t', '#', -1, true
	rows, err := in.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 970 {
		t.Errorf("%d options in %s, not 970", len(rows), facts)
	}
	arguments := map[string]Argument{"required": Required, "optional": Optional, "none": NoArgument}
	for _, row := range rows {
		row = append(row, make([]string, 8)...)
		name, where, letter, argument, kind, immediate, same := row[0], row[1], row[2], row[3], row[4], row[5], row[7]
		o, known := Lookup(name)
		if !known {
			t.Errorf("%s is unknown", name)
			continue
		}
		if o.Where != where || o.Same != same || o.Immediate != (immediate == "immediate") {
			t.Errorf("%s: where %q, same as %q, immediate %t; uWSGI says %q, %q, %q", name, o.Where, o.Same, o.Immediate, where, same, immediate)
		}
		if a, ok := arguments[argument]; !ok || o.Argument != a {
			t.Errorf("%s: argument %d; uWSGI says %q", name, o.Argument, argument)
		}
		// A letter is that of all spellings; the table has it with the first.
		first, _ := Lookup(o.First())
		if name == "uwsgi-socket" { // -s records socket
			first, _ = Lookup("socket")
		}
		if letter != strings.Trim(string(first.Letter), "\x00") {
			t.Errorf("%s: letter %q; uWSGI says %q", name, first.Letter, letter)
		}
		want, ok := kindOf[kind]
		if kind == "own" {
			want, ok = ownKinds[o.First()], true
		}
		if !ok || o.Kind != want {
			t.Errorf("%s: kind %d; uWSGI reads %q", name, o.Kind, kind)
		}
		if negative := o.Kind == Int && o.Low < 0; negative != (kind == "int-any") {
			t.Errorf("%s: takes numbers from %d; uWSGI reads %q", name, o.Low, kind)
		}
	}
}

// TestTableKnowsWhatTheInstalledOneKnows asks the installed uWSGI, with each of its plugins, which options there are.
func TestTableKnowsWhatTheInstalledOneKnows(t *testing.T) {
	program, err := exec.LookPath("uwsgi")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("uwsgi is not installed, and CI must have it: %v", err)
		}
		t.Skipf("uwsgi is not installed: %v", err)
	}
	plugins, err := filepath.Glob("/usr/lib/uwsgi/plugins/*_plugin.so")
	if err != nil || len(plugins) == 0 {
		t.Fatalf("uWSGI has no plugins: %v", err)
	}
	flag := regexp.MustCompile(`(?m)^ +(?:-.\|)?--([^ ]+)`)
	for _, path := range plugins {
		name := strings.TrimSuffix(filepath.Base(path), "_plugin.so")
		ask := exec.CommandContext(t.Context(), program, "--plugin", name, "--help")
		ask.Env = []string{} // UWSGI_… would be options
		out, err := ask.Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found := flag.FindAllStringSubmatch(string(out), -1)
		if len(found) < 700 {
			t.Fatalf("%s: only %d options in what uwsgi --help prints", name, len(found))
		}
		for _, f := range found {
			if _, known := Lookup(f[1]); !known {
				t.Errorf("%s: --%s is unknown", name, f[1])
			}
		}
	}
}
