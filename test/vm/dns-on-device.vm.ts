/**
 * A relay that may change its own records: it comes to an internet with other addresses than are published,
 * and the name server, a real one with signed zones, tells the new ones a minute later.
 */
import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { users } from '../../appliance/contract/users.ts';
import { updateKey } from '../fakes/dns/authoritative.ts';
import { builtRoot } from './built-image.ts';
import { Internet, nameServerAddress, newDkimKey } from './internet.ts';
import { RelayNamespace, waitUntil } from './relay-namespace.ts';

const domain = 'moved.example.net';
/** Public ones, as the registries of IANA have it: what is for documentation is never published. */
const ipv4 = '198.44.0.9';
const ipv6 = '2a01:4f8::9';
const credentials = {
  RFC2136_NAMESERVER: nameServerAddress,
  RFC2136_TSIG_KEY: updateKey.name,
  RFC2136_TSIG_SECRET: updateKey.secret,
};

describe('a relay with credentials for its DNS provider', () => {
  const stack = new AsyncDisposableStack();
  let relay: RelayNamespace;

  const published = (type: string) =>
    execFileSync(
      'ip',
      ['netns', 'exec', relay.netns, 'dig', `@${nameServerAddress}`, '+noall', '+answer', domain, type],
      { encoding: 'utf8' },
    ).trim();

  beforeAll(async () => {
    const site = { domain, address: '198.51.100.9', dkimKey: newDkimKey() };
    const internet = stack.use(await Internet.start([site]));
    relay = stack.use(
      await RelayNamespace.start({
        rootImage: (await builtRoot()).path,
        config: {
          domain,
          network: { forwarders: [nameServerAddress] },
          tls: { certificate: 'self-signed' },
          dns: { provider: 'rfc2136', updateAddresses: true },
          secrets: { dkimKey: site.dkimKey, dnsCredentials: credentials },
        },
        beforeStart: async ({ netns, dataDirectory }) => {
          internet.join(netns, site.address);
          const add = ['-n', netns, 'addr', 'add'];
          execFileSync('ip', [...add, `${ipv4}/24`, 'dev', 'uplink']);
          execFileSync('ip', [...add, `${ipv6}/64`, 'dev', 'uplink', 'nodad']);
          await mkdir(join(dataDirectory, 'unbound'), { recursive: true });
          await writeFile(join(dataDirectory, 'unbound', 'root.key'), `${internet.rootKey}\n`);
        },
      }),
    );
  });
  afterAll(() => stack.disposeAsync());

  test('publishes the addresses it has', { timeout: 150_000 }, async () => {
    await waitUntil(
      () => published('A').includes(ipv4) && published('AAAA').includes(ipv6),
      120_000,
      () => `new addresses; there are: ${published('A')} ${published('AAAA')}`,
    ).catch(async (error: unknown) => {
      throw new Error(await relay.logs(), { cause: error });
    });
    // One of each, to be remembered for five minutes.
    expect(published('A')).toMatch(/^\S+\s+300\s+IN\s+A\s+198\.44\.0\.9$/);
    expect(published('AAAA')).toMatch(/^\S+\s+300\s+IN\s+AAAA\s+2a01:4f8::9$/);
  });

  test('keeps the credentials for the edge alone, and in no log', async () => {
    const file = await stat(join(relay.dataDirectory, 'edge/dns-credentials.json'));
    expect([file.mode & 0o777, file.uid]).toEqual([0o600, users.edge.uid]);
    const seed = await readFile(join(relay.bootDirectory, 'chatmail.json'), 'utf8');
    expect(seed).toContain('rfc2136');
    const others = [seed];
    for (const folder of ['log', 'config']) {
      for (const name of await readdir(join(relay.dataDirectory, folder))) {
        others.push(await readFile(join(relay.dataDirectory, folder, name), 'utf8'));
      }
    }
    for (const path of ['/run/chatmail/config.json', '/run/chatmail/edge-config.json']) {
      others.push(await readFile(await relay.inside(path), 'utf8'));
    }
    expect(others.length).toBeGreaterThan(5);
    for (const text of others) expect(text).not.toMatch(/PRIVATE KEY|c2VjcmV0LW9m/);
  });
});
