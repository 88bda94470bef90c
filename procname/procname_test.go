package procname

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestMain makes the test binary a program that shows a name and then its arguments, until its input ends.
func TestMain(m *testing.M) {
	name, child := os.LookupEnv("PROCNAME_TEST")
	if !child {
		os.Exit(m.Run())
	}
	t := Take()
	t.Set(name)
	fmt.Printf("%q %q %d\n", os.Args[1:], os.Getenv("BEHIND"), t.Room())
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// show returns what the kernel shows of a process with these arguments that calls itself name, and what it says itself.
func show(t *testing.T, name string, args ...string) (cmdline, said string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "program"
	cmd.Env = []string{"BEHIND=the arguments", "PROCNAME_TEST=" + name, "GORACE=atexit_sleep_ms=0"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if said, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(text), strings.TrimSpace(said)
}

func TestSetShowsTheNameAndLeavesTheArguments(t *testing.T) {
	args := []string{"--ini", "shop.ini", "", "last"} // with "program" 29 bytes, NULs included
	want := `["--ini" "shop.ini" "" "last"] "the arguments" 27`
	for name, shown := range map[string]string{
		"":                             "program\x00--ini\x00shop.ini\x00\x00last\x00",
		"x":                            "x\x00",
		"shop uWSGI master":            "shop uWSGI master\x00",
		"abcdefghijklmnopqrstuvwxyz":   "abcdefghijklmnopqrstuvwxyz\x00",
		"abcdefghijklmnopqrstuvwxyz01": "abcdefghijklmnopqrstuvwxyz0\x00",
		strings.Repeat("long ", 1000):  "long long long long long lo\x00",
	} {
		cmdline, said := show(t, name, args...)
		if cmdline != shown || said != want {
			t.Errorf("%.30q: ps shows %q and not %q; it says %s and not %s", name, cmdline, shown, said, want)
		}
	}
}

func TestNamesAreThoseOfUWSGI(t *testing.T) { // as observed on 2.0.21
	for _, c := range []struct {
		n            Name
		want, worker string
	}{
		{Name{}, "", ""},
		{Name{Auto: true}, "uWSGI master", "uWSGI worker 2"},
		{Name{Name: "foo"}, "foo", "foo"},
		{Name{Master: "mast"}, "mast", "uWSGI worker 2"},
		{Name{Spaced: "pre"}, "pre uWSGI master", "pre uWSGI worker 2"},
		{Name{Auto: true, Prefix: "a", Append: "zz"}, "auWSGI masterzz", "auWSGI worker 2zz"},
		{Name{Name: "foo", Prefix: "a", Append: "zz"}, "afoozz", "afoozz"},
		{Name{Auto: true, Name: "foo", Prefix: "a", Spaced: "b", Append: "zz"}, "b foozz", "b foozz"},
		{Name{Auto: true, Master: "mast", Append: "zz"}, "mastzz", "uWSGI worker 2zz"},
		{Name{Name: "foo", Master: "mast", Prefix: "a"}, "amast", "afoo"},
	} {
		if got, worker := c.n.Of("uWSGI master"), c.n.OfOther("uWSGI worker 2"); got != c.want || worker != c.worker {
			t.Errorf("%+v: got %q and %q, want %q and %q", c.n, got, worker, c.want, c.worker)
		}
	}
}

func TestATitleOfNothing(t *testing.T) {
	(*Title)(nil).Set("x")
	new(Title).Set("x")
	if (*Title)(nil).Room() != 0 {
		t.Error("there is room")
	}
}
