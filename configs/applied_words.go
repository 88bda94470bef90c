package configs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The words that options with a syntax of their own are made of, as the real program takes them. Where a plugin adds a word, it
// counts as known: languages and routers are no plugins here.

// routed judges the routing options: [regexp or condition] router:arguments. The regular expression itself is only compiled
// when the first request is routed.
func routed(name string, s Setting) error {
	table, rest, _ := strings.Cut(name, "route")
	if strings.HasSuffix(name, "-label") || (rest != "" && rest[0] != '-') || !slices.Contains([]string{"", "final-", "error-", "response-"}, table) {
		return nil
	}
	action := s.Value
	if rest != "-run" {
		var subject string
		var blank bool
		if subject, action, blank = strings.Cut(s.Value, " "); !blank {
			return wrong(s, "has no blank between what it looks at and what it does", "write for example "+s.Key+" = ^/old redirect:/new")
		}
		if rest == "-if" || rest == "-if-not" {
			condition, _, ok := strings.Cut(subject, ":")
			if !ok {
				return wrong(s, "has no colon in its condition", "write for example "+s.Key+" = equal:${HTTP_HOST};shop.example log:seen")
			}
			if !oneOf(conditions, condition) {
				return local(wrong(s, fmt.Sprintf("names the condition %q, which does not exist", condition), "write one of: "+conditions))
			}
		}
	}
	router, arguments, ok := strings.Cut(action, ":")
	if !ok {
		return wrong(s, "has no colon behind the name of the router", "write "+strings.TrimSpace(router)+": even where there is nothing behind it")
	}
	if !oneOf(routers, router) {
		return local(wrong(s, fmt.Sprintf("names the router %q, which does not exist", router), "write one blank before it, and one of: "+routers))
	}
	switch router {
	case "addvar", "logvar":
		if strings.IndexByte(arguments, '=') < 0 {
			return wrong(s, "has no equals sign behind "+router, "write "+router+":NAME=VALUE")
		}
	case "basicauth", "basicauth-next":
		if strings.IndexByte(arguments, ',') < 0 {
			return wrong(s, "has no comma behind "+router, "write "+router+":REALM,USER:PASSWORD")
		}
	case "uwsgi", "proxyuwsgi":
		if strings.Count(arguments, ",") < 2 {
			return wrong(s, "has too few commas behind "+router, "write "+router+":ADDRESS,MODIFIER1,MODIFIER2")
		}
	}
	return nil
}

const (
	conditions = "exists isfile isdir islink isexec equal isequal eq == startswith endswith regexp re contains contain empty ishigher > islower < ishigherequal >= islowerequal <= lord ipv4in ipv6in"

	routers = "continue last break return break-with-status log donotlog donotoffload logvar goto addvar addheader delheader remheader clearheaders resetheaders disableheaders " +
		"signal send send-crnl chdir setapp setuser sethome setfile setscriptname setmethod seturi setremoteaddr setpathinfo fixpathinfo setdocroot setscheme setprocname alarm " +
		"setmodifier1 setmodifier2 + - * / flush fixcl forcecl harakiri basicauth basicauth-next redirect redirect-302 redirect-permanent redirect-301 static static-next file file-next " +
		"sendfile sendfile-next fastfile fastfile-next http httpdumb proxyhttp httpconnect proxyhttpconnect uwsgi proxyuwsgi rewrite rewrite-last cache cache-continue cachevar cacheset " +
		"cachestore cache-store cacheinc cachedec cachemul cachediv hash expires metricinc metricdec metricmul metricdiv metricset memcached memcached-continue memcachedstore " +
		"memcached-store radius radius-next redis redis-continue redisstore redis-store xmldir gzip chunked offload template tofile to-file toupper call rpc rpcret rpcblob rpcnext " +
		"rpcraw rpcvar ssi symcall symcall-next cgi cgihelper access spnego ldapauth ldapauth-next xslt"

	hooks = "alarm append appendn call callint callintret callret cd chdir chmod chown chown2 create exec exit hostname log mkdir mount print putenv rpc spinningfifo sticky umount unlink " +
		"wait_for_dir wait_for_file wait_for_fs wait_for_socket write writefifo writen"

	loggers  = "file fd stdio socket pipe syslog rsyslog crypto zmq zeromq redislog systemd python mongodblog graylog2"
	encoders = "prefix suffix nl format json gzip compress msgpack"
	pushers  = "file socket statsd zabbix carbon rrdtool mongodb"

	capabilityNames = "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner " +
		"sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap " +
		"mac_override mac_admin syslog wake_alarm"
	digests = "md4 md5 sha1 sha224 sha256 sha384 sha512 sha512-224 sha512-256 sha3-224 sha3-256 sha3-384 sha3-512 ripemd ripemd160 rmd160 whirlpool blake2b512 blake2s256 sm3 md5-sha1 " +
		"shake128 shake256 rsa-md5 rsa-sha1 rsa-sha224 rsa-sha256 rsa-sha384 rsa-sha512 sha2-224 sha2-256 sha2-384 sha2-512"
	namespaceNames = "fs ipc mount net pid user uts"
)

// local marks a fault that a uWSGI elsewhere need not find: it has other plugins, files, accounts or libraries.
func local(e *Error) *Error {
	e.local = true
	return e
}

// oneOf reports whether a word is on a list with blanks between.
func oneOf(list, word string) bool {
	return word != "" && strings.IndexByte(word, ' ') < 0 && strings.Contains(" "+list+" ", " "+word+" ")
}

func hook(_ *reader, s Setting) error {
	action, _, ok := strings.Cut(s.Value, ":")
	if !ok {
		return wrong(s, "has no colon behind what it does", "write "+s.Key+" = exec:COMMAND")
	}
	if !oneOf(hooks, action) {
		return local(wrong(s, fmt.Sprintf("names the action %q, which does not exist", action), "write one of: "+hooks))
	}
	return nil
}

func mount(_ *reader, s Setting) error {
	if len(strings.Fields(s.Value)) < 3 {
		return wrong(s, "is not a file system, a source and a folder", "write for example "+s.Key+" = tmpfs none /mnt")
	}
	return nil
}

func pusher(_ *reader, s Setting) error {
	name, _, _ := strings.Cut(s.Value, ":")
	if !oneOf(pushers, name) {
		return local(wrong(s, fmt.Sprintf("names the pusher %q, which does not exist", name), "write one of: "+pushers))
	}
	return nil
}

// logger judges [id ]logger[:arguments]. An id has letters and digits only.
func logger(_ *reader, s Setting) error {
	text := s.Value
	if id, rest, ok := strings.Cut(text, " "); ok && strings.IndexFunc(id, notAlphanumeric) < 0 {
		text = rest
	}
	name, _, _ := strings.Cut(text, ":")
	if !oneOf(loggers, name) {
		return local(wrong(s, fmt.Sprintf("names the logger %q, which does not exist", name), "write one of: "+loggers))
	}
	return nil
}

func notAlphanumeric(c rune) bool {
	return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
}

// encoder judges encoder[:logger] arguments.
func encoder(_ *reader, s Setting) error {
	name, _, _ := strings.Cut(s.Value, " ")
	name, _, _ = strings.Cut(name, ":")
	if !oneOf(encoders, name) {
		return local(wrong(s, fmt.Sprintf("names the encoder %q, which does not exist", name), "write one of: "+encoders))
	}
	return nil
}

func logRoute(_ *reader, s Setting) error {
	_, text, ok := strings.Cut(s.Value, " ")
	if !ok {
		return wrong(s, "has no blank between the logger and its regular expression", "write "+s.Key+" = LOGGER REGEXP")
	}
	return pattern(s, text)
}

// capabilities needs one that is known; a number is taken as it is.
func capabilities(_ *reader, s Setting) error {
	for _, name := range strings.FieldsFunc(s.Value, func(c rune) bool { return c == ',' }) {
		if name = strings.TrimLeft(name, " "); isDigits(name) || oneOf(capabilityNames, name) {
			return nil
		}
	}
	return local(wrong(s, "names no capability", "write them in small letters without cap_ and with commas between, for example "+s.Key+" = setgid,setuid"))
}

func namespaces(_ *reader, s Setting) error {
	for _, name := range strings.FieldsFunc(s.Value, func(c rune) bool { return c == ',' }) {
		if !oneOf(namespaceNames, name) {
			return wrong(s, fmt.Sprintf("names the namespace %q, which does not exist", name), "write some of these with commas between, and no blanks: "+namespaceNames)
		}
	}
	return nil
}

// legion judges name, address, valor and algorithm:secret.
func legion(_ *reader, s Setting) error {
	remedy := "write " + s.Key + " = NAME ADDRESS NUMBER aes-128-cbc:SECRET"
	parts := strings.SplitN(s.Value, " ", 4)
	if len(parts) < 4 {
		return wrong(s, "is not a name, an address, a number and a secret with blanks between", remedy)
	}
	cipher, _, ok := strings.Cut(parts[3], ":")
	if !ok {
		return wrong(s, "has no colon between cipher and secret", remedy)
	}
	cipher = strings.ToLower(cipher)
	for _, begin := range []string{"aes", "aria", "camellia", "chacha20", "des-ede", "des3", "des-ede3", "sm4", "id-aes"} {
		if strings.HasPrefix(cipher, begin) {
			return nil
		}
	}
	return local(wrong(s, fmt.Sprintf("names the cipher %q, which OpenSSL 3 does not offer", cipher), remedy))
}

// ofLegion judges what belongs to a legion that a line above has defined.
func ofLegion(r *reader, s Setting) error {
	name, _, ok := strings.Cut(s.Value, " ")
	if !ok {
		return wrong(s, "has no blank behind the name of its legion", "write "+s.Key+" = NAME VALUE")
	}
	for i := range r.list {
		switch e := &r.list[i]; {
		case e.Place == s.Place && e.Key == s.Key && e.Value == s.Value:
			return wrong(s, "belongs to the legion "+name+", which no line above has defined", "write legion = "+name+" ADDRESS NUMBER aes-128-cbc:SECRET above it")
		case (e.Key == "legion" || e.Key == "legion-mcast") && strings.HasPrefix(e.Value, name+" "):
			return nil
		}
	}
	return nil
}

func legionCron(_ *reader, s Setting) error {
	_, times, ok := strings.Cut(s.Value, " ")
	if !ok {
		return wrong(s, "has no blank behind the name of its legion", "write "+s.Key+" = NAME -1 -1 -1 -1 -1 COMMAND")
	}
	return fiveNumbers(s, times)
}

func sni(_ *reader, s Setting) error {
	if _, files, _ := strings.Cut(s.Value, " "); strings.IndexByte(files, ',') < 0 {
		return wrong(s, "is not a name, a certificate and a key", "write "+s.Key+" = shop.example /etc/ssl/shop.crt,/etc/ssl/shop.key")
	}
	return nil
}

// needs judges a text that needs some blanks.
func needs(blanks int, what, example string) func(*reader, Setting) error {
	return func(_ *reader, s Setting) error {
		if strings.Count(s.Value, " ") < blanks {
			return wrong(s, "is not "+what, "write "+s.Key+" = "+example)
		}
		return nil
	}
}

// digest judges digest:folder.
func digest(_ *reader, s Setting) error {
	name, _, ok := strings.Cut(s.Value, ":")
	if !ok || !oneOf(digests, strings.ToLower(name)) {
		return wrong(s, "is not a digest that OpenSSL has, and a folder", "write "+s.Key+" = SHA256:/etc/uwsgi/keys")
	}
	return nil
}

func twoColons(_ *reader, s Setting) error {
	if strings.Count(s.Value, ":") < 2 {
		return wrong(s, "is not two numbers and a text with colons between", "write for example "+s.Key+" = 0:app:main")
	}
	return nil
}

// keys judges a list of key=value that needs one of some keys.
func keys(what, example string, names ...string) func(*reader, Setting) error {
	return func(_ *reader, s Setting) error {
		found := pairs(s.Value)
		for _, name := range names {
			if _, ok := found[name]; ok {
				return nil
			}
		}
		return wrong(s, "has no key for "+what, "write "+s.Key+" = "+example)
	}
}

// pairs reads key=value,key=value.
func pairs(text string) map[string]string {
	found := make(map[string]string)
	for _, part := range strings.Split(text, ",") {
		if name, value, ok := strings.Cut(part, "="); ok {
			found[name] = value
		}
	}
	return found
}

func assignment(s Setting, example string) error {
	if strings.IndexByte(s.Value, '=') < 0 {
		return wrong(s, "has no equals sign", "write "+s.Key+" = "+example)
	}
	return nil
}

func ipAddress(s Setting) error {
	if _, err := netip.ParseAddr(s.Value); err != nil {
		return wrong(s, "is not an IP address", "write for example "+s.Key+" = 127.0.0.1")
	}
	return nil
}
