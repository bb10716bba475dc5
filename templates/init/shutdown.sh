#!/bin/sh
# Run by init on reboot, power-off and halt, before it kills what is left: tells the supervisor to stop
# everything in good order (queues, databases, the DATA filesystem), and waits for it.
pid=$(cat /run/supervisor/pid 2>/dev/null) || exit 0
kill -TERM "$pid" 2>/dev/null || exit 0
tries=0
# The slowest service has 30 seconds, and there are a few steps.
while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 900 ]; do
  usleep 100000
  tries=$((tries + 1))
done
sync
