package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be a program that dies.
func TestMain(m *testing.M) {
	switch os.Getenv("EMPERORD_TEST_DIES") {
	case "":
		os.Exit(m.Run())
	case "by panic":
		dieBySignal()
		panic("a mistake of ours")
	}
	dieBySignal()
	os.Stdout.WriteString("up\n")
	time.Sleep(time.Minute)
}

// systemd does not start us again after the exit code 2, which Go uses for panics and SIGABRT.
func TestNoDeathLooksLikeAMistakeInTheConfiguration(t *testing.T) {
	for how, want := range map[string]syscall.Signal{"by panic": syscall.SIGABRT, "by SIGABRT": syscall.SIGKILL} {
		var out bytes.Buffer
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), "EMPERORD_TEST_DIES="+how)
		c.Stderr = &out
		up, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = up.Read(make([]byte, 3))
		if how == "by SIGABRT" {
			if err := c.Process.Signal(syscall.SIGABRT); err != nil {
				t.Fatal(err)
			}
		}
		var exit *exec.ExitError
		if err := c.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != want {
			t.Errorf("%s: %v", how, err)
		}
		if !strings.Contains(out.String(), "emperord.TestMain(") {
			t.Errorf("%s: it does not say where it stood:\n%s", how, out.String())
		}
	}
}
