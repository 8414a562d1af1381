#!/bin/busybox sh
# The first process of the virtual machine (tests/faults/vm.py). This machine's root is there by 9p, read-only; the disk
# /dev/vda is an ext4 under dm-flakey. $RUN, from the kernel's command line, then runs with the second serial line as its
# input and output. The line `forget` from there makes the disk take writes and flushes from then on without doing them.
/bin/busybox mount -t proc processes /proc # from here on the shell finds its own commands
mount -t devtmpfs devices /dev
exec </dev/console >/dev/console 2>&1
mount -t sysfs system /sys
for module in $(cat /modules/order); do
    insmod "/modules/$module.ko" || poweroff -f
done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=1048576,cache=loose root /host || poweroff -f
for folder in dev proc sys; do
    mount --bind "/$folder" "/host/$folder"
done
mount -t tmpfs memory /host/run
mkdir /host/run/disk

sectors=$(cat /sys/block/vda/size)
DM_DISABLE_UDEV=1 TMPDIR=/run
export DM_DISABLE_UDEV TMPDIR
chroot /host dmsetup create card --table "0 $sectors flakey /dev/vda 0 3600 0"
chroot /host dmsetup load card --table "0 $sectors flakey /dev/vda 0 0 3600 1 drop_writes"
mount -t ext4 /dev/dm-0 /host/run/disk || poweroff -f
echo "disk mounted $(cut -d ' ' -f 1 /proc/uptime) s after the kernel's start"

line=/dev/ttyS1
stty -F $line raw -echo
while read -r word; do
    # Nothing is flushed and the file system not told: neither does a power cut.
    [ "$word" != forget ] || { chroot /host dmsetup resume --noflush --nolockfs card && echo forgets >$line; }
done <$line &

chroot /host sh -c "$RUN" >$line </dev/null && umount /host/run/disk && echo ended >$line
poweroff -f
