#!/bin/sh
# Boots a fresh Debian with systemd in a container of its own and runs the README's tour in it, as printed.
# Debian's own emperor runs there already, as with most who come from uWSGI.
# TREE keeps the Debian tree for the next time (default: a temporary folder).
set -eu
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "make tour boots a container: run it as root" >&2; exit 1; }
for tool in debootstrap systemd-nspawn; do
	command -v $tool >/dev/null || { echo "make tour needs $tool; run: apt-get install debootstrap systemd-container" >&2; exit 1; }
done
work=$(mktemp -d /var/tmp/emperord-tour-XXXXXX)
pid=
cleanup() {
	if [ -n "$pid" ]; then
		kill "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	fi
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
tree=${TREE:-$work/tree}
[ -e "$tree/usr/bin/systemctl" ] || debootstrap --variant=minbase \
	--include=systemd,systemd-sysv,dbus,nginx-light,python3,curl,iproute2,procps,make,uwsgi-emperor bookworm "$tree"

# The tour: every sh block between the two headings. Building is for the host: the container has no Go.
awk '/^## Five minutes/ { on = 1 } /^## Coming from/ { on = 0 }
	on && /^```sh$/ { take = 1; next } /^```$/ { take = 0 } take' README.md >"$work/tour"
sed -i 's/^make build$/cd \/src/' "$work/tour"
{
	echo 'set -eux'
	cat "$work/tour"
	cat <<'END'
test "$(curl -s -H 'Host: shop.example.org' http://127.0.0.1/)" = "hello from uid $(id -u shop)"
test "$(stat -c '%U:%G %a' /run/uwsgi/shop.sock)" = 'shop:www-data 660'
systemctl reload emperord
systemctl restart emperord
curl --fail --silent --retry 10 --retry-delay 1 --retry-all-errors -H 'Host: shop.example.org' http://127.0.0.1/
systemctl stop emperord
test "$(systemctl show -P ExecMainStatus emperord)" = 0
test ! -e /run/uwsgi/shop.sock
! pgrep vassald
echo THE TOUR SUCCEEDED
END
} >"$work/run"
mkdir "$work/src"
cp -r Makefile bin configs "$work/src/"
systemd-nspawn --quiet --register=no --keep-unit --ephemeral --directory="$tree" --private-network --machine=emperord-tour \
	--bind-ro="$work/src:/src" --bind="$work:/tour" \
	--boot --console=pipe systemd.unit=multi-user.target >"$work/console" 2>&1 </dev/null &
pid=$!
leader=
for _ in $(seq 300); do
	leader=$(pgrep -P "$pid" -x systemd || true)
	if [ -n "$leader" ] && nsenter -t "$leader" -a systemctl is-active --quiet multi-user.target && nsenter -t "$leader" -a systemctl is-active --quiet dbus 2>/dev/null; then break; fi
	kill -0 "$pid" 2>/dev/null || { cat "$work/console"; echo "the container did not boot" >&2; exit 1; }
	sleep 0.2
done
nsenter -t "$leader" -a /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh /tour/run
