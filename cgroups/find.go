package cgroups

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxText bounds what is read of /proc/self/cgroup and /proc/self/mountinfo, in bytes. A machine with ten thousand
// mounts has about a megabyte of them.
const maxText = 8 << 20

// A View is what this process sees of the control groups.
type View struct {
	Mount string   // where the hierarchy is mounted
	Own   string   // the folder of this process's own group
	V1    []string // controllers that hierarchies of version 1 hold, so that version 2 has not got them
}

// What to do where the own group cannot be seen.
const (
	newKernel = "use a kernel from 5.7 on with CONFIG_CGROUPS"
	mountIt   = "mount it: mount -t cgroup2 none /sys/fs/cgroup (beside version 1: /sys/fs/cgroup/unified)"
	fromAbove = "let whoever starts the container give it a control group namespace (docker run --cgroupns=private)"
)

// Look finds the hierarchy and the own group.
func Look() (View, error) {
	groups, err := readSome("/proc/self/cgroup", maxText)
	if err != nil {
		return View{}, &Refusal{"cannot tell the own control group: " + err.Error(), "mount /proc"}
	}
	mounts, err := readSome("/proc/self/mountinfo", maxText)
	if err != nil {
		return View{}, &Refusal{"cannot tell where control groups are mounted: " + err.Error(), "mount /proc"}
	}
	candidates, v1, err := find(string(groups), string(mounts))
	if err != nil {
		return View{V1: v1}, err
	}
	for _, v := range candidates { // a mount of another namespace's part may look like ours
		if pids, err := (folder{v.Own}).pids(); err == nil && slices.Contains(pids, os.Getpid()) {
			v.V1 = v1
			return v, nil
		}
	}
	return View{V1: v1}, &Refusal{"the own control group is not where it should be, " + candidates[0].Own, fromAbove}
}

// find reads the texts of /proc/self/cgroup and /proc/self/mountinfo. Several mounts may show the own group.
func find(groups, mounts string) (views []View, v1 []string, err error) {
	own := ""
	for line := range strings.Lines(groups) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		switch {
		case len(parts) != 3:
		case parts[0] == "0" && parts[1] == "":
			own = parts[2]
		case !strings.Contains(parts[1], "="): // "name=systemd" has no controller
			v1 = append(v1, strings.Split(parts[1], ",")...)
		}
	}
	if own == "" {
		return nil, v1, &Refusal{"the kernel has no control groups of version 2", newKernel}
	}
	own = strings.TrimSuffix(own, " (deleted)")
	mounted := false
	for line := range strings.Lines(mounts) {
		// 31 23 0:28 ROOT MOUNTPOINT OPTIONS TAGS… - TYPE SOURCE OPTIONS
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 6 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		mounted = true
		root, point := unescape(fields[3]), unescape(fields[4])
		if rel, below := strip(own, root); below && filepath.IsAbs(point) {
			views = append(views, View{Mount: point, Own: filepath.Join(point, rel)})
		}
	}
	switch {
	case !mounted:
		return nil, v1, &Refusal{"cgroup2 (control groups of version 2) is mounted nowhere", mountIt}
	case len(views) == 0:
		return nil, v1, &Refusal{fmt.Sprintf("the own control group, %q, is outside of what is mounted", own), fromAbove}
	}
	return views, v1, nil
}

// strip cuts the mount's root off a group's path. Paths that lead out of the namespace ("/..") are never below.
func strip(path, root string) (string, bool) {
	if slices.Contains(strings.Split(path, "/"), "..") || slices.Contains(strings.Split(root, "/"), "..") || !strings.HasPrefix(path, "/") {
		return "", false
	}
	if root == "/" || path == root {
		return strings.TrimPrefix(path, strings.TrimSuffix(root, "/")), true
	}
	rest, below := strings.CutPrefix(path, root+"/")
	return "/" + rest, below
}

// unescape undoes what the kernel does to blanks and backslashes in mountinfo: three octal digits behind a backslash.
func unescape(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// readSome reads a file of the kernel's; one that is longer than limit is an error.
func readSome(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return bytes.TrimRight(text, "\x00"), nil
}
