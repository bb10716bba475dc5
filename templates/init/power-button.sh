#!/bin/sh
# The power button, or a virtual machine's request to shut down (ACPI). Boards without one wait for nothing.
modprobe -q button
modprobe -q evdev
if ! ls /dev/input/event* >/dev/null 2>&1; then
  exec sleep 3600
fi
# acpid knows the button by itself: it runs PWRF/00000080 below this directory. What it says is of no use
# on the console; should it end, init starts this again, but not in a whirl.
acpid -f -d -c /usr/lib/chatmail/acpi 2>/dev/null
sleep 60
