#!/bin/sh
# Installs what the tests need, where it is missing and where we may: Debian or a relative of it, as root.
# With the argument "demo": what the demo needs, which is Python.
set -eu
missing=""
need() { # need COMMAND PACKAGE
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need_file() { # need_file PATTERN PACKAGE
	for f in $1; do [ -e "$f" ] && return; done
	missing="$missing $2"
}
PATH=$PATH:/usr/sbin:/sbin
if [ "${1:-}" = demo ]; then
	what="the demo needs"
	command -v python3 >/dev/null 2>&1 || missing=" python3"
else
	what="some tests need"
	need nginx nginx-light
	need uwsgi uwsgi-core
	need_file '/usr/lib/uwsgi/plugins/python3*_plugin.so' uwsgi-plugin-python3
	need /usr/bin/python3 python3
	need_file '/usr/lib/python3/dist-packages/django' python3-django
	need_file '/usr/lib/python3/dist-packages/flask' python3-flask
	need ps procps
	need ss iproute2
	need useradd passwd
	need unshare util-linux
	need setfacl acl
	need chattr e2fsprogs
	need gcc gcc
	[ -e /usr/include/stdlib.h ] || missing="$missing libc6-dev"
	need wrk wrk
	need_file '/usr/lib*/libnss_extrausers.so.2 /usr/lib/*/libnss_extrausers.so.2' libnss-extrausers
	need debootstrap debootstrap
	need systemd-nspawn systemd-container
	need nsenter util-linux
fi
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "$what:$missing" >&2
	[ "${1:-}" != demo ] || { echo "install it, or run make demo as root on Debian" >&2; exit 1; }
	echo "install it, or run make test as root on Debian; tests that cannot run are skipped (and fail where CI is set)" >&2
	exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# A service that a package starts would be in the way of nothing here, but nobody asked for it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi
echo "$what:$missing; installing" >&2
apt-get update -qq >&2
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >&2
