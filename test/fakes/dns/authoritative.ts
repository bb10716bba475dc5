/**
 * Real name servers for tests: Knot, BIND and PowerDNS, each on 127.0.0.1 at a free high port, with a
 * directory of its own, serving empty zones that take updates from one key.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { exchange } from '../../../appliance/dns/exchange.ts';
import { classes, emptyMessage } from '../../../appliance/dns/message.ts';
import { canonicalValue } from '../../../appliance/dns/rdata.ts';

export const updateKey = { name: 'update-key', secret: 'c2VjcmV0LW9mLXRoZS11cGRhdGUta2V5LWZvci10ZXN0cw==' };

export interface RealServer {
  readonly address: string;
  readonly port: number;
  /** Of the HTTP API, where there is one. */
  readonly apiPort: number;
  /** Asks the server itself. */
  truth(name: string, type: string): Promise<{ ttlSec: number; values: readonly string[] } | null>;
  close(): Promise<void>;
}

/** True when the program is installed; Debian keeps name servers in /usr/sbin. */
export function hasProgram(name: string): boolean {
  try {
    execFileSync('sh', ['-c', `PATH="$PATH:/usr/sbin" command -v ${name}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('No port');
  return address.port;
}

/** An empty zone: SOA, one NS and its address. */
export function emptyZone(zone: string): string {
  return `$TTL 3600
@ IN SOA ns1.${zone}. hostmaster.${zone}. 1 3600 600 86400 60
@ IN NS ns1.${zone}.
ns1 IN A 127.0.0.1
`;
}

interface Launch {
  readonly directory: string;
  /** 127.0.0.1 unless said otherwise. */
  readonly address?: string;
  readonly port: number;
  readonly apiPort: number;
  readonly command: readonly [string, ...string[]];
  readonly probe: string;
}

export async function launch(options: Launch): Promise<RealServer> {
  const { directory, address = '127.0.0.1', port, apiPort, command, probe } = options;
  const [program, ...args] = command;
  const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin` };
  const child = spawn(program, args, { cwd: directory, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const collect = (chunk: Buffer) => (output = (output + chunk.toString()).slice(-20_000));
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  const ask = (name: string, type: string) =>
    exchange(
      { address, port },
      { ...emptyMessage, recursionDesired: true, questions: [{ name, type, class: classes.in }] },
      { signal: AbortSignal.timeout(5000), timeoutMs: 500, tcp: true },
    );
  const deadline = Date.now() + 20_000;
  for (;;) {
    const ready = await ask(probe, 'SOA').then(
      (reply) => reply.authoritative || reply.recursionAvailable,
      () => false,
    );
    if (ready) break;
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`${program} did not start:\n${output}`);
    }
    await delay(50);
  }
  return {
    address,
    port,
    apiPort,
    async truth(name, type) {
      const reply = await ask(name, type);
      const records = reply.answers.filter((record) => record.name === name && record.type === type);
      const [first] = records;
      if (first === undefined) return null;
      // Their order means nothing, and BIND changes it from answer to answer.
      const values = records.map((record) => canonicalValue(type, record.value)).sort();
      return { ttlSec: first.ttlSec, values };
    },
    async close() {
      await stop(child);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
  await gone;
  clearTimeout(timer);
}

/** The first part of a knot.conf: one server in a directory, and the right to change its zones with the update key. */
export function knotBeginning(
  directory: string,
  listen: string,
  level: 'info' | 'warning' = 'warning',
): string {
  return `server:
  rundir: "${directory}"
  listen: ${listen}
log:
  - target: stderr
    any: ${level}
database:
  storage: "${directory}"
key:
  - id: ${updateKey.name}
    algorithm: hmac-sha256
    secret: ${updateKey.secret}
acl:
  - id: update
    key: ${updateKey.name}
    action: update
`;
}

export async function startKnot(zones: readonly string[]): Promise<RealServer> {
  const directory = await mkdtemp(join(tmpdir(), 'knot-'));
  const port = await freePort();
  for (const zone of zones) await writeFile(join(directory, `${zone}.zone`), emptyZone(zone));
  await writeFile(
    join(directory, 'knot.conf'),
    `${knotBeginning(directory, `127.0.0.1@${port}`)}template:
  - id: default
    storage: "${directory}"
    file: "%s.zone"
zone:
${zones.map((zone) => `  - domain: ${zone}\n    acl: update\n`).join('')}`,
  );
  const command = ['knotd', '-c', join(directory, 'knot.conf')] as const;
  return launch({ directory, port, apiPort: 0, command, probe: zones[0] ?? '' });
}

export async function startBind(zones: readonly string[]): Promise<RealServer> {
  const directory = await mkdtemp(join(tmpdir(), 'bind-'));
  const port = await freePort();
  for (const zone of zones) await writeFile(join(directory, `${zone}.zone`), emptyZone(zone));
  await writeFile(
    join(directory, 'named.conf'),
    `options {
  directory "${directory}";
  pid-file "${directory}/named.pid";
  session-keyfile "${directory}/session.key";
  listen-on port ${port} { 127.0.0.1; };
  listen-on-v6 { none; };
  recursion no;
  dnssec-validation no;
};
controls { };
key "${updateKey.name}" { algorithm hmac-sha256; secret "${updateKey.secret}"; };
${zones
  .map(
    (zone) =>
      `zone "${zone}" { type primary; file "${zone}.zone"; allow-update { key "${updateKey.name}"; }; };\n`,
  )
  .join('')}`,
  );
  const command = ['named', '-g', '-n', '1', '-c', join(directory, 'named.conf')] as const;
  return launch({ directory, port, apiPort: 0, command, probe: zones[0] ?? '' });
}

export async function startPowerdns(zones: readonly string[], apiKey: string): Promise<RealServer> {
  const directory = await mkdtemp(join(tmpdir(), 'pdns-'));
  const port = await freePort();
  const apiPort = await freePort();
  const database = join(directory, 'pdns.sqlite3');
  execFileSync('sqlite3', [database, '.read /usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql']);
  await writeFile(
    join(directory, 'pdns.conf'),
    `launch=gsqlite3
gsqlite3-database=${database}
local-address=127.0.0.1
local-port=${port}
api=yes
api-key=${apiKey}
webserver=yes
webserver-address=127.0.0.1
webserver-port=${apiPort}
socket-dir=${directory}
dnsupdate=yes
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
`,
  );
  const configuration = `--config-dir=${directory}`;
  const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin` };
  const util = (...args: string[]) =>
    execFileSync('pdnsutil', [configuration, ...args], { env, stdio: 'pipe' });
  util('import-tsig-key', updateKey.name, 'hmac-sha256', updateKey.secret);
  for (const zone of zones) {
    await writeFile(join(directory, `${zone}.zone`), emptyZone(zone));
    util('load-zone', zone, join(directory, `${zone}.zone`));
    util('set-kind', zone, 'native');
    util('set-meta', zone, 'TSIG-ALLOW-DNSUPDATE', updateKey.name);
    util('set-meta', zone, 'ALLOW-DNSUPDATE-FROM', '127.0.0.0/8');
  }
  const command = ['pdns_server', configuration, '--guardian=no', '--daemon=no'] as const;
  return launch({ directory, port, apiPort, command, probe: zones[0] ?? '' });
}
