#!/bin/sh
# Started by init, and again whenever it ends. A busy relay holds many files: what a process may open is
# inherited from here.
ulimit -n 65536
umask 022
exec /usr/bin/node --max-old-space-size=96 --max-semi-space-size=1 --v8-pool-size=1 \
  /usr/lib/chatmail/supervisor.js </dev/null
