#!/bin/sh
# The power button was pressed: an orderly stop, then off.
exec /usr/bin/busybox poweroff
