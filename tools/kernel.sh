#!/bin/sh
# Unpacks Debian's kernel into the folder $1 unless it is there: the kernel itself and the modules that tests/faults/vm.py loads.
# It is not installed, so nothing of this machine's own start changes.
set -eu
[ ! -e "$1/vmlinuz" ] || exit 0

go_without() {
    echo "make: no kernel for the virtual machine, what needs it is skipped: $1" >&2
    [ "${CI:-}" != true ] || exit 1 # a test run that counts must not pass by skipping
    exit 0
}

[ "$(uname -m)" = x86_64 ] || go_without "this machine is not x86_64"
command -v apt-get >/dev/null || go_without "apt-get is missing"
mkdir -p "$1"
folder=$(cd "$1" && pwd)
part=$(mktemp -d)
trap 'rm -rf "$part"' EXIT
chmod 755 "$part" # apt fetches as a user of its own
chown _apt "$part" 2>/dev/null || :
cd "$part"

fetch() {
    # linux-image-amd64 is only a name; the package it depends on has the version in its own.
    name=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
    [ -n "$name" ] && apt-get -qq download "$name" >"$part/log" 2>&1
}

update() {
    if [ "$(id -u)" = 0 ]; then apt-get -qq update; else sudo -n apt-get -qq update; fi >/dev/null 2>&1
}

fetch || { update && fetch; } || go_without "apt-get download linux-image-amd64: $(grep '^E:' log 2>/dev/null | tail -n 1)"
echo "make: unpacking $name (13 MB of it; not installed)"
dpkg-deb --fsys-tarfile "$name"_*.deb | tar -x --wildcards './boot/vmlinuz-*' '*/drivers/virtio/*' '*/drivers/block/virtio_blk.ko*' \
    '*/drivers/md/dm-mod.ko*' '*/drivers/md/dm-flakey.ko*' '*/net/9p/*' '*/fs/9p/*' '*/fs/netfs/*' '*/fs/fscache/*' \
    '*/fs/ext4/*' '*/fs/jbd2/*' '*/fs/mbcache.ko*' '*/lib/crc16.ko*' '*/crypto/crc32c_generic.ko*'
mkdir -p "$folder/modules"
find . -name '*.ko.xz' -exec unxz {} + # newer Debian has them compressed
find . -name '*.ko' -exec cp {} "$folder/modules" \;
cp boot/vmlinuz-* "$folder/vmlinuz.part"
mv "$folder/vmlinuz.part" "$folder/vmlinuz"
