/** NAME.local, asked for from another machine's namespace. */
import { spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { builtRoot } from './built-image.ts';
import { clientAddress, relayAddress, RelayNamespace, waitUntil } from './relay-namespace.ts';

const canRun = process.getuid?.() === 0 && spawnSync('ip', ['-V']).error === undefined;

describe.skipIf(!canRun && process.env.CI === undefined)('The local name', () => {
  let relay: RelayNamespace;

  beforeAll(async () => {
    relay = await RelayNamespace.start({
      rootImage: (await builtRoot()).path,
      config: { domain: 'chat.test.example', network: { mdns: 'on', mdnsName: 'Box' } },
    });
  }, 300_000);

  afterAll(async () => {
    await relay?.[Symbol.asyncDispose]();
  });

  const query = join(import.meta.dirname, 'mdns-query.ts');
  const ask = (name: string, type: string): string =>
    relay.runAsClient(process.execPath, query, clientAddress, name, type, '1000');

  test('is answered with the address, and stands on the console', async () => {
    await waitUntil(
      () => ask('box.local', 'A') === `box.local A ${relayAddress}\n`,
      30_000,
      () => 'an answer for box.local',
    );
    await relay.waitForConsole(/http:\/\/box\.local/, 30_000);
  }, 90_000);

  test('is all that is told: neither services nor what the machine is', () => {
    for (const [name, type] of [
      ['_services._dns-sd._udp.local', 'PTR'],
      ['_workstation._tcp.local', 'PTR'],
      ['box.local', 'TYPE13'], // HINFO
      ['chat.test.example.local', 'A'],
    ] as const) {
      expect(ask(name, type).replaceAll(/^.* NSEC .*\n/gm, ''), `${name} ${type}`).toBe('');
    }
  }, 30_000);

  test('is told by a process that is not root and costs little', async () => {
    const pid = await relay.pidOf(/avahi-daemon/);
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    expect(status).toMatch(/^Uid:\t109\t109\t109\t109$/m);
    expect(status).toMatch(/^CapEff:\t0+$/m);
    const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
    expect(Number(/^Pss: +(\d+) kB/m.exec(rollup)?.[1])).toBeLessThan(4000);
  });
});
