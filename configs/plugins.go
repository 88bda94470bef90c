package configs

import "strings"

// pluginName returns the bare name of what plugin = … names: "0:python3" (a modifier in front) and
// "/usr/lib/uwsgi/plugins/python3_plugin.so" are python3.
func pluginName(text string) string {
	text = strings.TrimLeft(text, " \t")
	if _, behind, ok := strings.Cut(text, ":"); ok {
		text = behind
	}
	text = text[strings.LastIndexByte(text, '/')+1:]
	return strings.TrimSuffix(text, "_plugin.so")
}

// pythonPlugin reports whether a plugin hosts Python 3: python, python3, python311, python3.11.
func pythonPlugin(name string) bool {
	version, ok := strings.CutPrefix(name, "python")
	if !ok {
		return false
	}
	return version == "" || (version[0] == '3' && strings.Trim(version[1:], "0123456789.") == "")
}

// otherLanguage returns the language that a plugin hosts and we do not, or "".
func otherLanguage(name string) string {
	for _, l := range [...]struct{ start, language string }{
		{"python2", "Python 2"}, {"pypy", "PyPy"}, {"pyuwsgi", "pyuwsgi"}, {"php", "PHP"}, {"psgi", "Perl"}, {"perl", "Perl"},
		{"coro", "Perl"}, {"rack", "Ruby"}, {"ruby", "Ruby"}, {"rbthreads", "Ruby"}, {"fiber", "Ruby"}, {"lua", "Lua"},
		{"jvm", "Java"}, {"jwsgi", "Java"}, {"servlet", "Java"}, {"ring", "Clojure"}, {"mono", "Mono"}, {"v8", "JavaScript"},
		{"gccgo", "Go"}, {"go", "Go"}, {"erlang", "Erlang"}, {"pyerl", "Erlang"}, {"cplusplus", "C++"}, {"objc", "Objective-C"}, {"matheval", ""},
	} {
		if strings.HasPrefix(name, l.start) {
			return l.language
		}
	}
	return ""
}

// feature reports whether a plugin of uWSGI adds something that is no language. Whether the options that use it
// are honoured is said for each of them.
func feature(name string) bool {
	for _, start := range [...]string{"router_", "transformation_", "cheaper_", "alarm_", "emperor_", "stats_pusher_", "logger_", "curl_cron", "legion_cache", "ldap", "dumbloop"} {
		if strings.HasPrefix(name, start) {
			return true
		}
	}
	switch name {
	case "http", "https", "corerouter", "fastrouter", "rawrouter", "sslrouter", "forkptyrouter", "tuntap", "logfile", "logsocket", "logpipe",
		"logzmq", "redislog", "mongodblog", "syslog", "rsyslog", "systemd_logger", "graylog2", "notfound", "ping", "cache", "rpc", "signal",
		"spooler", "symcall", "carbon", "nagios", "rrdtool", "statsd", "zergpool", "zabbix", "msgpack", "pam", "geoip", "ssi", "xslt",
		"tornado", "greenlet", "gevent", "asyncio", "stackless", "ugreen", "cgi", "dummy", "example", "exception_log", "webdav", "xattr", "glusterfs", "rados", "gridfs", "airbrake", "echo", "cares", "avahi", "mysql", "libffi", "libtcc", "matheval", "ssl", "yaml", "json", "xml":
		return true
	}
	return false
}

// ownName is the name by which a loaded plugin knows itself, which if-plugin compares; "" if there is no such plugin.
func ownName(name string) string {
	switch {
	case pythonPlugin(name) || strings.HasPrefix(name, "python2"):
		return "python"
	case strings.HasPrefix(name, "rack"):
		return "rack"
	case strings.HasPrefix(name, "lua"):
		return "lua"
	case otherLanguage(name) != "" || feature(name):
		return name
	}
	return ""
}
