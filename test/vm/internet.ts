/**
 * An internet small enough for one machine: a switch in a network namespace, and beside it a real
 * authoritative name server with a signed root, a signed `example.net` and the relays' own zones, as our planner
 * makes them. Relays join the switch by a cable of their own and resolve through that root, checking
 * signatures with its key.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseDomain } from '../../appliance/contract/domain.ts';
import { wantedRecords } from '../../appliance/contract/dns-records.ts';
import { dkimPublicKey } from '../../appliance/dns/dkim-key.ts';
import { zoneFile } from '../../appliance/dns/zone-text.ts';
import { knotBeginning } from '../fakes/dns/authoritative.ts';
import { waitUntil } from './relay-namespace.ts';

/** A relay of this internet: `domain` is a name directly below `example.net`. */
export interface Site {
  readonly domain: string;
  readonly address: string;
  /** PEM; its public half is in the zone. */
  readonly dkimKey: string;
  /** Of the key on port 25, in hex: pins it (DANE). */
  readonly tlsaSpkiSha256?: readonly string[];
}

/** Where the name server is; TEST-NET-2 (RFC 5737) is the whole of this internet. */
export const nameServerAddress = '198.51.100.53';
const program = (name: string): string => `/usr/sbin/${name}`;

let made = 0;

export function newDkimKey(): string {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

export class Internet implements AsyncDisposable {
  readonly netns = `internet-${process.pid}-${made++}`;
  /** The root's key as a line that unbound takes for its trust anchor. */
  rootKey = '';
  readonly #directory: string;
  #server: ChildProcess | undefined;
  #output = '';
  #cables = 0;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async start(sites: readonly Site[]): Promise<Internet> {
    const internet = new Internet(await mkdtemp(join(tmpdir(), 'internet-')));
    try {
      internet.#makeSwitch();
      await internet.#startNameServer(sites);
      return internet;
    } catch (error) {
      await internet[Symbol.asyncDispose]();
      throw error;
    }
  }

  #makeSwitch(): void {
    ip('netns', 'add', this.netns);
    ip('-n', this.netns, 'link', 'set', 'lo', 'up');
    ip('-n', this.netns, 'link', 'add', 'switch', 'type', 'bridge');
    ip('-n', this.netns, 'addr', 'add', `${nameServerAddress}/24`, 'dev', 'switch');
    ip('-n', this.netns, 'link', 'set', 'switch', 'up');
  }

  /** Lays a cable to another namespace, whose end of it is called `uplink`. */
  join(netns: string, address: string): void {
    const port = `port${this.#cables++}`;
    // prettier-ignore
    ip('-n', this.netns, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'uplink', 'netns', netns);
    ip('-n', this.netns, 'link', 'set', port, 'master', 'switch', 'up');
    ip('-n', netns, 'addr', 'add', `${address}/24`, 'dev', 'uplink');
    ip('-n', netns, 'link', 'set', 'uplink', 'up');
  }

  async #startNameServer(sites: readonly Site[]): Promise<void> {
    const directory = this.#directory;
    const relayZones = sites.map(({ domain }) => domain);
    const config = join(directory, 'knot.conf');
    await writeFile(config, knotConfig(directory, ['.', 'example.net', ...relayZones]));
    const keys = (...args: string[]) => run(program('keymgr'), '-c', config, ...args);
    for (const zone of ['.', 'example.net', ...relayZones]) {
      keys(zone, 'generate', 'algorithm=ECDSAP256SHA256', 'ksk=yes', 'zsk=yes');
    }
    /** What vouches for a zone, for the zone above it. */
    const delegationSigner = (zone: string) =>
      keys(zone, 'ds')
        .split('\n')
        .filter((line) => / 13 2 /.test(line))
        .join('\n');
    await writeFile(join(directory, 'root.zone'), [start('.'), delegation('example.net.'), delegationSigner('example.net'), ''].join('\n')); // prettier-ignore
    const below = relayZones.flatMap((zone) => [delegation(`${zone}.`), delegationSigner(zone)]);
    await writeFile(join(directory, 'example.net.zone'), [start('example.net.'), ...below, ''].join('\n'));
    for (const site of sites) {
      const records = wantedRecords({
        domain: parseDomain(site.domain),
        ipv4: [site.address],
        ipv6: [],
        dkimKeys: [dkimPublicKey(site.dkimKey, site.domain)],
        tlsaSpkiSha256: site.tlsaSpkiSha256,
      });
      // Let's Encrypt is not part of this internet, and its exclusive right would keep Pebble out.
      const served = records.filter(({ purpose }) => purpose !== 'caa');
      const text = `${start(`${site.domain}.`)}\n${zoneFile(site.domain, served)}`;
      await writeFile(join(directory, `${site.domain}.zone`), text);
    }
    this.rootKey = keys('.', 'dnskey').trim();
    this.#server = spawn('ip', ['netns', 'exec', this.netns, program('knotd'), '-c', config], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#server.stdout, this.#server.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    }
    const dig = ['netns', 'exec', this.netns, 'dig', `@${nameServerAddress}`, '+short', '+dnssec'];
    const ask = (zone: string) => {
      try {
        return run('ip', ...dig, zone, 'SOA');
      } catch {
        // Nobody listens there yet.
        return '';
      }
    };
    await waitUntil(
      () => ['.', ...relayZones].every((zone) => ask(zone).includes('SOA 13')),
      20_000,
      () => `signed zones\n${this.#output}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const server = this.#server;
    if (server !== undefined && server.exitCode === null) {
      const ended = new Promise((resolve) => server.once('exit', resolve));
      server.kill('SIGKILL');
      await ended;
    }
    try {
      ip('netns', 'del', this.netns);
    } finally {
      await rm(this.#directory, { recursive: true, force: true });
    }
  }
}

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function ip(...args: string[]): void {
  run('ip', ...args);
}

/** The beginning of a zone, all of which lie on the one server. */
function start(zone: string): string {
  const soa = `${zone} 3600 IN SOA ns.example.net. hostmaster.example.net. 1 3600 600 86400 5`;
  const own = zone === 'example.net.' ? `\nns.example.net. 3600 IN A ${nameServerAddress}` : '';
  return `${soa}\n${zone} 3600 IN NS ns.example.net.${own}`;
}

function delegation(zone: string): string {
  return `${zone} 3600 IN NS ns.example.net.\nns.example.net. 3600 IN A ${nameServerAddress}`;
}

function knotConfig(directory: string, zones: readonly string[]): string {
  const blocks = zones.map(
    (zone) => `  - domain: "${zone}"\n    file: "${zone === '.' ? 'root' : zone}.zone"\n`,
  );
  return `${knotBeginning(directory, `${nameServerAddress}@53`)}policy:
  - id: one-key
    single-type-signing: on
    algorithm: ecdsap256sha256
template:
  - id: default
    storage: "${directory}"
    dnssec-signing: on
    dnssec-policy: one-key
    zonefile-sync: -1
    acl: update
    zonefile-load: difference
zone:
${blocks.join('')}`;
}
