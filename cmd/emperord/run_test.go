package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

// A misspelt section is the reason why nothing was read, and the message says so.
func TestMisspeltSectionIsSaid(t *testing.T) {
	name := t.TempDir() + "/emperor.ini"
	if err := os.WriteFile(name, []byte("[uwsgy]\nemperor = /tmp\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	code := run(context.Background(), []string{"--ini", name}, outside{env: []string{"PATH=/usr/bin:/bin"}, stdout: &out, stderr: &said})
	if code != exitMistake || !strings.Contains(said.String(), "there is no section [uwsgi]") || !strings.Contains(said.String(), "no vassals are named") {
		t.Errorf("exit %d, %q", code, said.String())
	}
}
