/**
 * What runs on the device: the one table. A new daemon is a new row here, its configuration a folder below
 * templates/, its directories in boot/directories.ts.
 */
import { dirname, join } from 'node:path';
import { tools } from './base/tools.ts';
import { paths } from './contract/paths.ts';
import { ports } from './contract/ports.ts';
import { groups, users } from './contract/users.ts';
import type { Identity, Job, Service } from './supervise/service.ts';

export interface ServiceOptions {
  /** False in a namespace, whose clock is the host's. */
  readonly keepsTime: boolean;
  /**
   * Given where the machine had no time of its own: mail waits for it, bounded by the check itself, since
   * certificates and signatures cannot be judged before.
   */
  readonly waitForTime?: (signal: AbortSignal) => Promise<boolean>;
}

const identity = (user: keyof typeof users): Identity => ({ uid: users[user].uid, gid: users[user].gid });
const hours = 3_600_000;
/** Whom relay and edge believe when they connect to others: Node reads it through OpenSSL. */
const trust = { SSL_CERT_FILE: paths.authorities };

/** Services in the order in which they are shown. */
export function services({ keepsTime, waitForTime }: ServiceOptions): readonly Service[] {
  const afterTime = keepsTime && waitForTime !== undefined ? ['chrony'] : [];
  const table: Service[] = [
    {
      name: 'unbound',
      command: '/usr/sbin/unbound',
      // Binds port 53 as root and drops to its own user by itself.
      args: ['-d', '-p', '-c', join(paths.unboundConfig, 'unbound.conf')],
      needs: [],
      ready: { kind: 'tcp', port: ports.dns },
      health: { kind: 'tcp', port: ports.dns },
      reloadSignal: 'SIGHUP',
      oomScoreAdjust: -300,
    },
    {
      name: 'relay',
      command: paths.node,
      args: [
        '--max-semi-space-size=2',
        '--disable-warning=ExperimentalWarning', // node:sqlite
        '--use-openssl-ca',
        join(paths.programs, 'relay.js'),
      ],
      identity: identity('relay'),
      env: {
        NODE_ENV: 'production',
        HOME: users.relay.home,
        ...trust,
        // Large messages go back to the system when they are done with, instead of staying in malloc's heap.
        MALLOC_MMAP_THRESHOLD_: '262144',
      },
      needs: [],
      ready: { kind: 'unix', path: paths.saslSocket },
      health: { kind: 'unix', path: paths.saslSocket },
      reloadSignal: 'SIGHUP',
      oomScoreAdjust: -500,
    },
    {
      name: 'dovecot',
      command: '/usr/sbin/dovecot',
      args: ['-F', '-c', join(paths.dovecotConfig, 'dovecot.conf')],
      needs: ['relay', ...afterTime],
      ready: { kind: 'tcp', port: ports.imaps },
      reloadSignal: 'SIGHUP',
      usesCertificate: true,
      logNamesPeople: true,
      logGid: groups.dovecot,
    },
    {
      name: 'postfix',
      command: '/usr/lib/postfix/sbin/master',
      // -s: stay in the foreground with stdout open, where postlogd writes.
      args: ['-c', paths.postfixConfig, '-s'],
      // smtpd refuses to start while the SASL socket is not there (facts/mailcore.md §4).
      needs: ['relay', 'unbound', ...afterTime],
      // Said after its ports are open; connecting to one would start an smtpd.
      ready: { kind: 'log', pattern: /postfix\/master\[\d+\]: daemon started/ },
      stopTimeoutMs: 15_000,
      reloadSignal: 'SIGHUP',
      usesCertificate: true,
      logNamesPeople: true,
      logGid: groups.postfix,
    },
    {
      name: 'edge',
      command: paths.node,
      args: [
        // No compilers: the work is the kernel's and OpenSSL's, and it saves 8 MB. (--lite-mode would save the
        // same, but takes WebAssembly away, which fetch needs.)
        '--no-opt',
        '--no-maglev',
        '--no-sparkplug',
        '--optimize-for-size',
        '--v8-pool-size=0',
        '--max-semi-space-size=1',
        '--use-openssl-ca',
        join(paths.programs, 'edge.js'),
      ],
      identity: identity('edge'),
      env: { NODE_ENV: 'production', HOME: users.edge.home, ...trust },
      // After it, so that two programs do not start side by side on one processor and mail comes first.
      needs: ['relay'],
      ready: { kind: 'tcp', port: ports.https },
      reloadSignal: 'SIGHUP',
      usesCertificate: true,
      // Mail goes on without it, and to start the machine anew would end that too.
      isVital: false,
      oomScoreAdjust: -200,
    },
  ];
  if (!keepsTime) return table;
  return [
    {
      name: 'chrony',
      command: '/usr/sbin/chronyd',
      args: ['-d', '-f', join(paths.chronyConfig, 'chrony.conf')],
      needs: [],
      ready:
        waitForTime === undefined ? { kind: 'alive', forMs: 200 } : { kind: 'custom', check: waitForTime },
    },
    ...table,
  ];
}

/** Programs run at intervals. Old mail is expired by the relay itself. */
export const jobs: readonly Job[] = [
  {
    // Tells SSDs and SD cards which blocks are free; together once a week, since at every delete is slow.
    name: 'trim',
    command: tools.busybox,
    args: ['fstrim', paths.data],
    firstAfterMs: 2 * hours,
    everyMs: 7 * 24 * hours,
    timeoutMs: hours,
  },
];

/** Sockets of the supervisor: who may ask for what. */
export const controlEndpoints = [
  {
    path: paths.supervisorSocket,
    allowed: ['status', 'logs', 'restart', 'reload-certificates', 'reboot', 'poweroff'],
  },
  {
    // Strangers meet the edge: who takes it over gets neither logs, which name people, nor the machine's switch.
    path: join(dirname(paths.supervisorSocket), 'edge.sock'),
    gid: groups.edge,
    allowed: ['status', 'reload-certificates'],
  },
  { path: join(dirname(paths.supervisorSocket), 'relay.sock'), gid: groups.relay, allowed: ['status'] },
] as const;
