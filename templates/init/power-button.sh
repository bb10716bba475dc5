#!/bin/sh
# The power button: a PC's, a virtual machine's request to shut down (ACPI), or that of a board whose device
# tree has one (Raspberry Pi 5). Boards without one wait for nothing.
modprobe -q button
modprobe -q evdev
# Where devices.sh is loading the same modules just now, modprobe does not wait until they are ready; and
# acpid opens only the devices that are there when it starts.
has_button() {
  sed -n '/^N: Name="\(Power Button\|gpio-keys\)"/,/^$/p' /proc/bus/input/devices 2>/dev/null | grep -q '^H:.*event'
}
tries=0
until has_button; do
  tries=$((tries + 1))
  [ "$tries" -le 30 ] || exec sleep 3600
  sleep 1
done
# acpid knows the button by itself: it runs PWRF/00000080 below this directory. What it says is of no use
# on the console; should it end, init starts this again, but not in a whirl.
acpid -f -d -c /usr/lib/chatmail/acpi 2>/dev/null
sleep 60
