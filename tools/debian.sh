#!/bin/sh
# Installs the Debian packages among its arguments that are missing; their services are neither started nor enabled.
# An argument is `package` or `package:command`: where the command is found, the package is not asked for.
# Without root or sudo it says in one line what to install and goes on: what needs it is then left out or skipped.
set -eu
PATH=$PATH:/usr/sbin:/sbin

missing() {
    for wanted in "$@"; do
        case $wanted in
        *:*) command -v "${wanted#*:}" >/dev/null || printf '%s ' "${wanted%%:*}" ;;
        *) dpkg-query -Wf '${Status}' "$wanted" 2>/dev/null | grep -q ' installed$' || printf '%s ' "$wanted" ;;
        esac
    done
}

# $1: why, where apt-get said something
go_without() {
    echo "make: not installed, so what needs it is left out or skipped: $list(sudo apt-get install ${list% })$1" >&2
    [ "${CI:-}" != true ] || exit 1 # a test run that counts must not pass by skipping
    exit 0
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1
}

# Debian starts and enables a service when its package is configured. This answer of policy-rc.d forbids the start;
# an answer that is already there is the administrator's.
forbid_starts() {
    [ ! -e /usr/sbin/policy-rc.d ] || return 0
    undo="$undo /usr/sbin/policy-rc.d"
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
}

services() {
    dpkg -L "$1" 2>/dev/null | sed -n 's,^.*/systemd/system/\([^/@]*\.service\)$,\1,p'
}

switch_off() {
    for service in $(services "$1"); do
        if command -v systemctl >/dev/null; then
            systemctl --quiet disable "$service" 2>/dev/null || echo "make: $service stays enabled" >&2
            [ ! -d /run/systemd/system ] || systemctl --quiet stop "$service"
        else
            update-rc.d "${service%.service}" disable >/dev/null 2>&1 || :
        fi
    done
}

list=$(missing "$@")
[ -n "$list" ] || exit 0
command -v apt-get >/dev/null || go_without ""
if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || go_without ""
    exec sudo -n CI="${CI:-}" "$0" "$@"
fi

log=$(mktemp)
undo=$log
trap 'rm -f $undo' EXIT
trap 'exit 130' INT TERM HUP
forbid_starts
echo "make: installing $list(Debian packages; no service is started or enabled)"
for package in $list; do
    # The package lists are refreshed only where they do not know the package or its file any more.
    if apt install --no-install-recommends "$package" || { apt update && apt install --no-install-recommends "$package"; }; then
        switch_off "$package"
    else
        why=$(grep '^E:' "$log" | tail -n 1)
    fi
done
list=$(missing "$@")
[ -z "$list" ] || go_without " ${why:-}"
