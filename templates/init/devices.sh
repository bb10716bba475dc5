#!/bin/sh
# Loads the modules of devices that are there, and of those that show up later (USB network adapters take
# seconds). Run by init without arguments; busybox uevent runs it again for every event, with the event in
# the environment.
if [ "$1" = event ]; then
  if [ "$ACTION" = add ] && [ -n "$MODALIAS" ]; then
    modprobe -q "$MODALIAS"
  fi
  exit 0
fi
(
  # A moment for the listener below to be there, so that nothing falls between the two.
  sleep 0.2
  # From their events, since devices on the auxiliary bus have no file modalias.
  find /sys/devices -name uevent -exec sed -n 's/^MODALIAS=//p' {} + 2>/dev/null | sort -u | while read -r modalias; do
    modprobe -q "$modalias"
  done
) &
exec /usr/bin/busybox uevent /usr/lib/chatmail/devices.sh event
