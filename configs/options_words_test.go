package configs

import (
	"strconv"
	"strings"
	"testing"
)

// longestHelp is how long a sentence may be, so that a terminal shows it beside the option's name.
const longestHelp = 110

// TestEveryOptionIsExplained demands one sentence for every option, its own.
func TestEveryOptionIsExplained(t *testing.T) {
	said := make(map[string]string)
	for _, o := range table {
		if o.Same != "" {
			continue
		}
		switch {
		case o.Help == "":
			t.Errorf("%s has no help", o.Name)
			continue
		case !strings.HasSuffix(o.Help, ".") || strings.HasSuffix(o.Help, ".."):
			t.Errorf("%s: the help does not end in a full stop: %q", o.Name, o.Help)
		case len(o.Help) > longestHelp:
			t.Errorf("%s: the help has %d bytes: %q", o.Name, len(o.Help), o.Help)
		case o.Help[0] < 'A' || o.Help[0] > 'Z':
			t.Errorf("%s: the help does not begin with a capital letter: %q", o.Name, o.Help)
		case strings.ContainsAny(o.Help, "\n\t") || strings.Contains(o.Help, "  ") || strings.TrimSpace(o.Help) != o.Help:
			t.Errorf("%s: the help holds odd blanks: %q", o.Name, o.Help)
		}
		if verb, _, _ := strings.Cut(o.Help, " "); !strings.HasSuffix(verb, "s") && verb != "Always" {
			t.Errorf("%s: the help does not begin with what the option does: %q", o.Name, o.Help)
		}
		if other := said[o.Help]; other != "" {
			t.Errorf("%s and %s have one help: %q", other, o.Name, o.Help)
		}
		said[o.Help] = o.Name
	}
}

// TestEveryReasonCanBeSaid demands that a reason reads well behind "option … has no effect: ".
func TestEveryReasonCanBeSaid(t *testing.T) {
	for _, o := range table {
		switch {
		case (o.Standing == Accepted || o.Standing == Never) && o.Reason == "":
			t.Errorf("%s is %s without a reason", o.Name, o.Standing)
		case o.Standing == Honoured && o.Reason != "":
			t.Errorf("%s is honoured, so there is nothing to excuse: %q", o.Name, o.Reason)
		case o.Standing == Never && o.Obeys != ByNobody:
			t.Errorf("%s will not come, and somebody obeys it", o.Name)
		case o.Standing != Never && o.Obeys == ByNobody && o.Standing != Accepted:
			t.Errorf("%s is %s, and nobody obeys it", o.Name, o.Standing)
		}
		if strings.HasSuffix(o.Reason, ".") || len(o.Reason) > longestHelp || strings.TrimSpace(o.Reason) != o.Reason {
			t.Errorf("%s: %q is a whole sentence, too long, or holds odd blanks", o.Name, o.Reason)
		}
		if o.Standing == NotYet && strings.HasPrefix(o.Reason, "use ") {
			t.Errorf("%s: the reason does not say that it is for the time being: %q", o.Name, o.Reason)
		}
	}
}

// isNumber reports whether values of the kind are numbers with a range.
func isNumber(k Kind) bool { return k == Int || k == Uint64 || k == Uint16 || k == Megabytes }

// TestRangesAndDefaultsFit demands that what counts where an option is not written could also be written.
func TestRangesAndDefaultsFit(t *testing.T) {
	for _, o := range table {
		if !isNumber(o.Kind) {
			if o.Low != 0 || o.High != 0 || o.Unit != "" {
				t.Errorf("%s is no number, and has range %d to %d, unit %q", o.Name, o.Low, o.High, o.Unit)
			}
		} else {
			switch o.Unit {
			case "", "s", "ms", "bytes", "KiB", "MiB":
			default:
				t.Errorf("%s: %q is no unit", o.Name, o.Unit)
			}
			switch {
			case o.High != 0 && o.Low > o.High:
				t.Errorf("%s: from %d to %d", o.Name, o.Low, o.High)
			case o.Low < 0 && (o.Kind != Int || o.Name != "prio"):
				t.Errorf("%s: uWSGI takes no negative number", o.Name)
			case o.Kind == Int && o.High > 1<<31-1:
				t.Errorf("%s: uWSGI's numbers end at 2147483647, not at %d", o.Name, o.High)
			case o.Kind == Megabytes && o.Unit != "MiB":
				t.Errorf("%s counts megabytes, not %q", o.Name, o.Unit)
			}
		}
		if o.Default == "" {
			continue
		}
		switch {
		case isNumber(o.Kind):
			n, err := strconv.ParseInt(o.Default, 10, 64)
			if err != nil || n < o.Low || (o.High != 0 && n > o.High) {
				t.Errorf("%s: the default %q is not a number from %d to %d", o.Name, o.Default, o.Low, o.High)
			}
		case o.Kind == Bool || o.Kind == BoolInverse:
			if o.Default != "true" && o.Default != "false" {
				t.Errorf("%s: the default %q is not a boolean", o.Name, o.Default)
			}
		case (&reader{}).applied(o, Setting{Key: o.Name, Value: o.Default}) != nil:
			t.Errorf("%s: the default %q would be refused", o.Name, o.Default)
		}
	}
}

// TestDefaultsAreThoseOfTheCode holds the table's defaults against what the parsers start with.
func TestDefaultsAreThoseOfTheCode(t *testing.T) {
	v, _, err := ParseVassal(shop(t, minimal))
	if err != nil {
		t.Fatal(err)
	}
	e, _, err := ParseEmperor(Settings{{Key: "emperor", Value: "/etc/vassals"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"processes": strconv.Itoa(v.Processes), "buffer-size": strconv.Itoa(v.BufferSize),
		"socket-timeout": strconv.Itoa(int(v.SockTimeout.Seconds())), "worker-reload-mercy": strconv.Itoa(int(v.Mercy.Seconds())),
		"emperor-freq": strconv.Itoa(int(e.Freq.Seconds())), "emperor-throttle": strconv.Itoa(int(e.Throttle.Milliseconds())),
		"emperor-max-throttle": strconv.Itoa(int(e.MaxThrottle.Seconds())), "emperor-control-socket": e.ControlSocket,
		"emperor-socket-root": strings.Join(e.SocketRoots, ","), "emperor-socket-groups": strings.Join(e.SocketGroups, ","),
		"emperor-max-vassals-per-user": strconv.Itoa(e.MaxPerUser),
		"emperor-tyrant-initgroups":    strconv.FormatBool(e.TyrantInitgroups),
	} {
		if o, ok := Lookup(name); !ok || o.Default != want {
			t.Errorf("%s: the default is %q, and the code starts with %q", name, o.Default, want)
		}
	}
}
