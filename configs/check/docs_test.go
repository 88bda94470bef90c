package check

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDocsListEveryCode compares the table of codes in docs/check.md with Codes; -update rewrites it.
func TestDocsListEveryCode(t *testing.T) {
	const page = "../../docs/check.md"
	var table bytes.Buffer
	for i, c := range Codes {
		if i > 0 && Codes[i-1].Code >= c.Code {
			t.Errorf("%s stands behind %s", c.Code, Codes[i-1].Code)
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", c.Code, c.Levels, c.Meaning)
	}
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(raw), "|---|---|---|\n")
	_, tail, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatalf("%s has no table of codes with text behind it", page)
	}
	golden(t, page, []byte(head+"|---|---|---|\n"+table.String()+"\n"+tail))
}
