#!/bin/sh
# Started by init, and again whenever it ends. A busy relay holds many files: what a process may open is
# inherited from here.
ulimit -n 65536
umask 022
# When memory runs out, anything goes before the supervisor; what it starts gets a score of its own.
echo -900 >/proc/self/oom_score_adj
# "$@": --in-namespace, where there is no machine.
# lite-mode: no optimising compiler. There is next to nothing to compute here, and it saves 7 MB.
exec /usr/bin/node --lite-mode --max-old-space-size=96 --max-semi-space-size=1 --v8-pool-size=0 \
  /usr/lib/chatmail/supervisor.js "$@" </dev/null
