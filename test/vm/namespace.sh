#!/bin/sh
# Runs as root in fresh mount, PID and network namespaces: lays the appliance's root out as the initramfs
# would, and becomes PID 1 of it. What differs from a machine: no disk, no DHCP, no clock of its own.
#   $1 root squashfs   $2 directory for DATA   $3 directory that stands for BOOT   $4 mount point
#   $5 what stands for /proc/meminfo; may be missing
set -eu
root_image=$1 data=$2 boot=$3 root=$4
mount --make-rprivate /
mount -t squashfs -o ro,loop "$root_image" "$root"
mount --bind "$data" "$root/data"
mount --bind "$boot" "$root/boot"
mount -t proc proc "$root/proc"
if [ $# -gt 4 ]; then mount --bind "$5" "$root/proc/meminfo"; fi
mount -t sysfs sysfs "$root/sys"
# Of this network namespace; a machine's supervisor sets it with its other kernel settings.
echo 80 >"$root/proc/sys/net/ipv4/ip_unprivileged_port_start"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" 2>/dev/null || true
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for node in null:1:3:666 zero:1:5:666 full:1:7:666 random:1:8:666 urandom:1:9:666 tty:5:0:666; do
  IFS=: read -r name major minor mode <<END
$node
END
  mknod -m "$mode" "$root/dev/$name" c "$major" "$minor"
done
mkdir "$root/dev/pts" "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
# The host's load is not the relay's: a busy relay makes no accounts.
echo '0.00 0.00 0.00 1/100 1' >"$root/run/loadavg"
mount --bind "$root/run/loadavg" "$root/proc/loadavg"
touch "$root/run/inittab"
printf '%s\n' \
  '::respawn:/usr/lib/chatmail/start-supervisor.sh --in-namespace' \
  '::shutdown:/usr/lib/chatmail/shutdown.sh' > "$root/run/inittab"
mount --bind "$root/run/inittab" "$root/etc/inittab"
exec chroot "$root" /usr/bin/busybox init
