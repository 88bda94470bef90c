package hosts

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "compile the Python host with every CPython found, and remove what is out of date")

// compiler is run by an interpreter with the parts on standard input.
const compiler = `
import sys, marshal, importlib.util
data = sys.stdin.buffer.read()
at, codes = 0, []
while at < len(data):
    end = data.index(b"\n", at)
    name, size = data[at:end].decode().split()
    at = end + 1 + int(size)
    codes.append((name, compile(data[end + 1:at], "<emperord " + name + ".py>", "exec", dont_inherit=True, optimize=2)))
sys.stdout.buffer.write(importlib.util.MAGIC_NUMBER + marshal.dumps(codes))
`

// interpreters returns every CPython of 3.9 or later on this machine by version; the system's own one is always there.
func interpreters(t testing.TB) map[string]string {
	found := map[string]string{}
	candidates, _ := filepath.Glob("/usr/bin/python3*")
	for _, pattern := range []string{"/usr/local/bin/python3*", os.Getenv("HOME") + "/.pyenv/versions/*/bin/python3"} {
		more, _ := filepath.Glob(pattern)
		candidates = append(candidates, more...)
	}
	for _, c := range candidates {
		if strings.HasSuffix(c, "-config") {
			continue
		}
		out, err := exec.Command(c, "-I", "-S", "-c", "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sys.version_info >= (3, 9))").Output()
		fields := strings.Fields(string(out))
		if err == nil && len(fields) == 3 && fields[0] == "cpython" && fields[2] == "True" && found[fields[1]] == "" {
			found[fields[1]] = c
		}
	}
	if len(found) == 0 {
		t.Fatal("no CPython of 3.9 or later was found in /usr/bin; apt install python3")
	}
	return found
}

func TestCompiledModulesBelongToTheSources(t *testing.T) {
	sum := sha256.Sum256(pythonSources())
	if *update {
		old, _ := filepath.Glob("compiled/cpython-*")
		for _, name := range old {
			if text, err := os.ReadFile(name); err != nil || !bytes.HasPrefix(text, sum[:]) {
				_ = os.Remove(name)
			}
		}
		for version, program := range interpreters(t) {
			cmd := exec.Command(program, "-I", "-S", "-c", compiler)
			cmd.Stdin = bytes.NewReader(pythonSources())
			code, err := cmd.Output()
			if err != nil {
				t.Fatal(program, err)
			}
			if err := os.WriteFile(compiledName(version), append(sum[:], code...), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	entries, err := files.ReadDir("compiled")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "cpython-") {
			continue
		}
		if !bytes.HasPrefix(read("compiled/"+e.Name()), sum[:]) {
			t.Errorf("compiled/%s is older than the sources; run: go test ./vassal/hosts -update", e.Name())
		}
	}
}
