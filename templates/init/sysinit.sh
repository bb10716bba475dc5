#!/bin/sh
# First thing init runs: the filesystems that every program expects. The initramfs has mounted /dev, /proc,
# /sys and /boot; what it has not, is mounted here.
mounted() { grep -q " $1 " /proc/self/mounts 2>/dev/null; }

mounted /proc || mount -t proc -o nosuid,nodev,noexec proc /proc
mounted /sys || mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mounted /dev || mount -t devtmpfs -o nosuid,noexec devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mounted /dev/pts || mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mounted /dev/shm || mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=10% tmpfs /dev/shm
mounted /run || mount -t tmpfs -o nosuid,nodev,mode=755,size=20% tmpfs /run
mounted /tmp || mount -t tmpfs -o nosuid,nodev,noexec,mode=1777,size=20% tmpfs /tmp
mounted /sys/fs/cgroup || mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup

# Programs write to /dev/stdout and the like.
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
[ -e /dev/stdin ] || ln -s fd/0 /dev/stdin
[ -e /dev/stdout ] || ln -s fd/1 /dev/stdout
[ -e /dev/stderr ] || ln -s fd/2 /dev/stderr

# The kernel's own chatter would run through the status screen: errors only.
dmesg -n 4
