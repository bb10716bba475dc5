/**
 * What the relay's processes cost in memory, idle and with many connected clients: the real root and service
 * table, in namespaces, on a machine with plenty.
 */
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ImapClient } from '../oracles/mail-client.ts';
import { builtRoot } from '../vm/built-image.ts';
import { RelayNamespace } from '../vm/relay-namespace.ts';
import type { Bench } from './bench.ts';
import { domain, signInAll } from './clients.ts';
import { perProcess, totalOf, usageOf, waitForHibernation } from './memory-usage.ts';

const clientCount = 500;
/** After start and after the last sign-in: helper processes of Postfix and Dovecot come to rest. */
const settleMs = 15_000;

export const memoryBench: Bench = {
  name: 'memory',
  title: `memory of the relay, idle and with ${clientCount} clients waiting in IDLE`,
  needs: { root: true, tools: { iproute2: 'ip' } },
  async run({ directory, signal, note }) {
    // A file of its own: what another relay on this host has mounted, the kernel shares with it.
    const rootImage = join(directory, 'root.squashfs');
    await copyFile((await builtRoot()).path, rootImage);
    await using relay = await RelayNamespace.start({ rootImage, config: { domain } });
    note('started; waiting for it to come to rest');
    await sleep(settleMs, undefined, { signal });
    const idle = await usageOf(relay);

    const clients: ImapClient[] = [];
    try {
      await signInAll(relay, clients, clientCount, { signal, note });
      note('waiting until all connections hibernate');
      await waitForHibernation(relay);
      await sleep(settleMs, undefined, { signal });
      const busy = await usageOf(relay);
      const [idleBytes, busyBytes] = [totalOf(idle), totalOf(busy)];
      return {
        rows: [
          {
            what: 'idle, all processes',
            ours: idleBytes / 1e6,
            unit: 'MB',
            goal: { text: '≤ 200 MB', met: idleBytes <= 200e6 },
          },
          { what: `with ${clientCount} clients`, ours: busyBytes / 1e6, unit: 'MB' },
          { what: 'one more client', ours: (busyBytes - idleBytes) / clientCount / 1000, unit: 'kB' },
        ],
        tables: [perProcess(idle, busy, clientCount)],
      };
    } finally {
      for (const client of clients) client[Symbol.dispose]();
    }
  },
};
