#!/bin/sh
# The power button, or a virtual machine's request to shut down (ACPI). Boards without one wait for nothing.
[ -e /sys/class/input ] && modprobe -q evdev
modprobe -q button
if ! ls /dev/input/event* >/dev/null 2>&1; then
  exec sleep 3600
fi
exec acpid -f -d -c /usr/lib/chatmail/acpi -a /usr/lib/chatmail/acpi/actions -M /usr/lib/chatmail/acpi/map
