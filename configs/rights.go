package configs

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// capabilityWords are the capabilities of Linux, by number (linux/capability.h), as uWSGI writes them.
var capabilityWords = []string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable",
	"net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace",
	"sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write",
	"audit_control", "setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
	"checkpoint_restore",
}

// Capabilities is a set of Linux capabilities: bit N is the one with number N.
type Capabilities uint64

// Has tells whether the set holds the capability with a number, unix.CAP_….
func (c Capabilities) Has(number int) bool { return c>>number&1 == 1 }

// String returns the names with commas, as the options cap and emperor-cap take them.
func (c Capabilities) String() string {
	var names []string
	for n := range 64 {
		switch {
		case !c.Has(n):
		case n < len(capabilityWords):
			names = append(names, capabilityWords[n])
		default:
			names = append(names, strconv.Itoa(n))
		}
	}
	return strings.Join(names, ",")
}

// capabilitySet reads names with commas. uWSGI passes over a name that it does not know; here it is a fault, because
// what is missing would show much later.
func capabilitySet(s Setting) (*Capabilities, error) {
	var set Capabilities
	for name := range strings.SplitSeq(s.Value, ",") {
		name = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(name)), "cap_")
		n := slices.Index(capabilityWords, name)
		if number, err := strconv.ParseUint(name, 10, 6); err == nil && isDigits(name) {
			n = int(number) // a capability that is newer than the list
		}
		if n < 0 {
			return nil, wrong(s, fmt.Sprintf("names the capability %q, which there is not", name), "write names of capabilities(7) with commas, for example "+s.Key+" = setgid,setuid")
		}
		set |= 1 << n
	}
	return &set, nil
}

// namespaceFlags are those that emperor-use-clone takes, with the CLONE_NEW… flag of each (clone(2)).
var namespaceFlags = map[string]uintptr{"fs": 0x20000, "mount": 0x20000, "ipc": 0x8000000, "net": 0x40000000, "pid": 0x20000000, "uts": 0x4000000, "user": 0x10000000}

// namespaces reads emperor-use-clone.
func (p *emperorParser) namespaces(s Setting) error {
	for name := range strings.SplitSeq(s.Value, ",") {
		flag, known := namespaceFlags[strings.TrimSpace(name)]
		if !known {
			return wrong(s, fmt.Sprintf("names the namespace %q, which there is not", name), "write some of fs,ipc,net,pid,uts,user")
		}
		p.e.Namespaces |= flag
	}
	return nil
}

// A ResourceLimit is a limit that every vassal's processes have.
type ResourceLimit struct {
	Name       string // of limits.conf(5): nofile
	Soft, Hard uint64 // Unlimited is without end
}

// Unlimited is no limit at all (RLIM_INFINITY).
const Unlimited uint64 = math.MaxUint64

// limitNames are the resources that emperor-limit takes: those of limits.conf(5) that setrlimit(2) knows.
var limitNames = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}

// limit reads emperor-limit = NAME=SOFT[:HARD]. The last line for a name counts.
func (p *emperorParser) resourceLimit(s Setting) error {
	name, value, found := strings.Cut(s.Value, "=")
	if name = strings.TrimSpace(name); !found || !slices.Contains(limitNames, name) {
		return wrong(s, "does not name a limit", "write "+s.Key+" = NAME=SOFT:HARD, with one of "+strings.Join(limitNames, ", "))
	}
	low, high, both := strings.Cut(value, ":")
	if !both {
		high = low
	}
	soft, ok1 := limitNumber(low)
	hard, ok2 := limitNumber(high)
	if !ok1 || !ok2 {
		return wrong(s, "has no number", "write whole numbers (of bytes where it is a size; K, M and G may stand behind them) or unlimited, for example "+s.Key+" = nofile=1024:4096")
	}
	if soft > hard {
		return wrong(s, "has a soft limit above the hard one", fmt.Sprintf("write %s = %s=%s:%s", s.Key, name, strings.TrimSpace(high), strings.TrimSpace(low)))
	}
	p.e.Limits = slices.DeleteFunc(p.e.Limits, func(l ResourceLimit) bool { return l.Name == name })
	p.e.Limits = append(p.e.Limits, ResourceLimit{name, soft, hard})
	return nil
}

func limitNumber(text string) (uint64, bool) {
	text = strings.TrimSpace(text)
	if text == "unlimited" || text == "infinity" {
		return Unlimited, true
	}
	shift := 0
	if i := strings.IndexAny(text, "KMG"); i > 0 && i == len(text)-1 {
		shift = 10 * (1 + strings.IndexByte("KMG", text[i]))
		text = text[:i]
	}
	n, err := strconv.ParseUint(text, 10, 63-shift)
	return n << shift, err == nil && isDigits(text)
}
