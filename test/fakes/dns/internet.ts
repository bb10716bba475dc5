/**
 * A small internet of real name servers on loopback: a hidden primary that takes updates, the public
 * secondary that the zones delegate to, and a resolver that checks DNSSEC. Everything answers at one port,
 * since delegations carry no port.
 */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { DnsWorld } from '../../../builder/dns/world.ts';
import { exchange } from '../../../appliance/dns/exchange.ts';
import { freePort, launch, type RealServer, updateKey } from './authoritative.ts';

const publicAddress = '127.0.0.2';
const hiddenAddress = '127.0.0.9';
const resolverAddress = '127.0.0.3';

export interface SmallInternet {
  readonly world: DnsWorld;
  /** What RFC2136_NAMESERVER must be. */
  readonly hiddenPrimary: string;
  readonly primary: RealServer;
  readonly secondary: RealServer;
  close(): Promise<void>;
}

const zoneText = (zone: string, rest: string) => `$TTL 60
@ IN SOA hidden.example.org. hostmaster.example.org. 1 3600 600 86400 5
${rest}`;

/** Zones that never change: root, org with its delegations, and the reverse of one address. */
const fixedZones: Readonly<Record<string, string>> = {
  '.': zoneText('.', '@ IN NS a.root.\na.root. IN A 127.0.0.2\norg. IN NS a.root.\n'),
  org: zoneText(
    'org',
    '@ IN NS a.root.\nexample IN NS ns1.example\nns1.example IN A 127.0.0.2\nbogus IN NS ns1.example\nlame IN NS ns1.example\n',
  ),
  '113.0.203.in-addr.arpa': zoneText('', '@ IN NS a.root.\n5 IN PTR chat.example.org.\n'),
  'bogus.org': zoneText('', '@ IN NS ns1.example.org.\nchat IN A 203.0.113.5\n'),
};

const exampleZone = zoneText('example.org', '@ IN NS ns1\nns1 IN A 127.0.0.2\n');

export async function startSmallInternet(): Promise<SmallInternet> {
  const port = await freePort();
  const primary = await startPrimary(port);
  const secondary = await startSecondary(port);
  const resolver = await startResolver(port);
  const world: DnsWorld = {
    lookup: { exchange, resolvers: [{ address: resolverAddress, port }], authoritativePort: port },
    provider: {
      fetch: globalThis.fetch,
      clock: () => new Date(),
      sleep: async (ms, signal) => {
        await delay(Math.min(ms, 50), undefined, { signal });
      },
    },
    now: () => performance.now(),
  };
  return {
    world,
    hiddenPrimary: `${hiddenAddress}:${port}`,
    primary,
    secondary,
    close: async () => {
      await Promise.all([primary.close(), secondary.close(), resolver.close()]);
    },
  };
}

const keyText = `key:
  - id: ${updateKey.name}
    algorithm: hmac-sha256
    secret: ${updateKey.secret}
`;

function serverText(directory: string, address: string, port: number): string {
  return `server:
  rundir: "${directory}"
  listen: ${address}@${port}
log:
  - target: stderr
    any: warning
database:
  storage: "${directory}"
`;
}

async function startPrimary(port: number): Promise<RealServer> {
  const directory = await mkdtemp(join(tmpdir(), 'hidden-'));
  await writeFile(join(directory, 'example.org.zone'), exampleZone);
  await writeFile(
    join(directory, 'knot.conf'),
    `${serverText(directory, hiddenAddress, port)}${keyText}remote:
  - id: public
    address: ${publicAddress}@${port}
acl:
  - id: update
    key: ${updateKey.name}
    action: update
  - id: transfer
    address: 127.0.0.0/8
    action: transfer
zone:
  - domain: example.org
    storage: "${directory}"
    file: "%s.zone"
    notify: public
    acl: [update, transfer]
`,
  );
  const command = ['knotd', '-c', join(directory, 'knot.conf')] as const;
  return launch({ directory, address: hiddenAddress, port, apiPort: 0, command, probe: 'example.org' });
}

async function startSecondary(port: number): Promise<RealServer> {
  const directory = await mkdtemp(join(tmpdir(), 'public-'));
  const names = Object.entries(fixedZones);
  for (const [index, [, text]] of names.entries())
    await writeFile(join(directory, `fixed${index}.zone`), text);
  const fixed = names.map(
    ([zone], index) => `  - domain: "${zone}"
    storage: "${directory}"
    file: fixed${index}.zone
${zone === 'bogus.org' ? '    dnssec-signing: on\n' : ''}`,
  );
  await writeFile(
    join(directory, 'knot.conf'),
    `${serverText(directory, publicAddress, port)}remote:
  - id: hidden
    address: ${hiddenAddress}@${port}
    via: ${publicAddress}
acl:
  - id: notify
    address: 127.0.0.0/8
    action: notify
zone:
${fixed.join('')}  - domain: example.org
    storage: "${directory}"
    file: "%s.zone"
    master: hidden
    acl: notify
`,
  );
  const command = ['knotd', '-c', join(directory, 'knot.conf')] as const;
  return launch({ directory, address: publicAddress, port, apiPort: 0, command, probe: 'example.org' });
}

async function startResolver(port: number): Promise<RealServer> {
  const directory = await mkdtemp(join(tmpdir(), 'resolver-'));
  await mkdir(join(directory, 'run'));
  const zones = [...Object.keys(fixedZones), 'example.org', 'lame.org'];
  // The hidden primary refuses a zone it does not have, as a server does that a zone was moved away from.
  const serverOf = (zone: string) => (zone === 'lame.org' ? hiddenAddress : publicAddress);
  await writeFile(
    join(directory, 'unbound.conf'),
    `server:
  directory: "${directory}"
  chroot: ""
  username: ""
  pidfile: "${directory}/run/unbound.pid"
  use-syslog: no
  interface: ${resolverAddress}@${port}
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  cache-max-ttl: 0
  cache-max-negative-ttl: 0
  num-threads: 1
  trust-anchor: "bogus.org. DS 12345 13 2 ${'00'.repeat(32)}"
  local-zone: "113.0.203.in-addr.arpa." nodefault
remote-control:
  control-enable: no
${zones.map((zone) => `stub-zone:\n  name: "${zone}"\n  stub-addr: ${serverOf(zone)}@${port}\n`).join('')}`,
  );
  const command = ['unbound', '-d', '-c', join(directory, 'unbound.conf')] as const;
  return launch({ directory, address: resolverAddress, port, apiPort: 0, command, probe: 'example.org' });
}
