// Package dist holds the files that come with emperord: the systemd unit, the emperor's configuration, the tmpfiles.d and
// nginx snippets, and three example vassals with their applications.
package dist

import "embed"

// Files are, by their paths in this folder:
//
//	emperord.service     systemd unit
//	uwsgi-emperor.service.d/emperord.conf   drop-in for Debian's unit: emperord runs its files unchanged
//	uwsgi.service.d/emperord.conf           the same for Fedora's
//	systemd-252.conf     a drop-in for systemd before 253
//	emperor.ini          the emperor's configuration that the unit names
//	tmpfiles.conf        for /usr/lib/tmpfiles.d/emperord.conf
//	nginx.conf           one site
//	vassals/plain.ini    apps/plain.py, plain WSGI
//	vassals/flask.ini    apps/flask_app.py, for where Flask is installed
//	vassals/broken.ini   names a module that does not exist
//
// The vassals look for their applications in ../apps beside their folder, and put their sockets into /run/uwsgi; the
// emperor's `vassal-set = apps=/path` and `vassal-set = sockets=/path` say otherwise.
//
//go:embed emperord.service systemd-252.conf uwsgi-emperor.service.d uwsgi.service.d emperor.ini tmpfiles.conf nginx.conf vassals apps
var Files embed.FS
