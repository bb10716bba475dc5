/**
 * What the relay's processes cost in memory: proportional set size (PSS, which divides shared pages among
 * those that share them), idle and with many connected clients. The real root and service table, in
 * namespaces: the kernel's own memory and what lies in tmpfs are not in these figures.
 */
import { readFile, readlink } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ImapClient, startTls } from '../oracles/mail-client.ts';
import { builtRoot } from '../vm/built-image.ts';
import { RelayNamespace, waitUntil } from '../vm/relay-namespace.ts';
import { type Bench, type BenchTable, format } from './bench.ts';

const domain = 'chat.example.org';
const clientCount = 500;
/** Sign-ins at a time: each makes an account, and the password's hash wants 19 MB and a processor. */
const parallel = 4;
/** After start and after the last sign-in: helper processes of Postfix and Dovecot come to rest. */
const settleMs = 15_000;

/** Bytes and number of processes by name. */
type Usage = ReadonlyMap<string, { readonly bytes: number; readonly processes: number }>;

export const memoryBench: Bench = {
  name: 'memory',
  title: `memory of the relay, idle and with ${clientCount} clients waiting in IDLE`,
  needs: { root: true, tools: { iproute2: 'ip' } },
  async run({ signal, note }) {
    const rootImage = (await builtRoot()).path;
    await using relay = await RelayNamespace.start({ rootImage, config: { domain } });
    note('started; waiting for it to come to rest');
    await sleep(settleMs, undefined, { signal });
    const idle = await usageOf(relay);

    const clients: ImapClient[] = [];
    try {
      await signInAll(relay, clients, signal, note);
      note('waiting until all connections hibernate');
      const awake = async () => (await usageOf(relay)).get('dovecot/imap')?.processes ?? 0;
      // One may stay for the next that wakes up.
      await waitUntil(
        async () => (await awake()) <= 1,
        60_000,
        () => 'hibernation',
      );
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
        tables: [perProcess(idle, busy)],
      };
    } finally {
      for (const client of clients) client[Symbol.dispose]();
    }
  },
};

/** Opens the connections, each of an account of its own, over TLS, and leaves them in IDLE. */
async function signInAll(
  relay: RelayNamespace,
  clients: ImapClient[],
  signal: AbortSignal,
  note: (text: string) => void,
): Promise<void> {
  let [next, waiting] = [0, 0];
  const connectSome = async () => {
    while (next < clientCount) {
      signal.throwIfAborted();
      const number = next++;
      const client = new ImapClient(await startTls(await relay.connect(993), domain));
      clients.push(client);
      await client.greeting();
      const user = `u${String(number).padStart(8, '0')}@${domain}`;
      for (const line of [`LOGIN "${user}" "a-password-of-${number}"`, 'SELECT INBOX']) {
        const { status, text } = await client.command(line);
        if (status !== 'OK') throw new Error(`Client ${number}: ${text}`);
      }
      client.write('idle IDLE\r\n');
      await client.read(/\+ [^\n]*\n/);
      if (++waiting % 100 === 0) note(`${waiting} clients`);
    }
  };
  await Promise.all(Array.from({ length: parallel }, connectSome));
}

async function usageOf(relay: RelayNamespace): Promise<Usage> {
  const usage = new Map<string, { bytes: number; processes: number }>();
  for (const { pid, command } of await relay.processes()) {
    try {
      const name = await nameOf(pid, command);
      const bytes = await pssBytes(pid);
      const known = usage.get(name) ?? { bytes: 0, processes: 0 };
      usage.set(name, { bytes: known.bytes + bytes, processes: known.processes + 1 });
    } catch {
      // It ended while it was looked at.
    }
  }
  return usage;
}

/** proc_pid_smaps(5): the sums of all mappings. */
async function pssBytes(pid: number): Promise<number> {
  const kilobytes = /^Pss:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
  if (kilobytes === undefined) throw new Error(`No PSS of process ${pid}`);
  return Number(kilobytes) * 1024;
}

/** `postfix/smtpd`, `dovecot/imap`, `relay (Node)`, `unbound`. */
async function nameOf(pid: number, command: string): Promise<string> {
  const program = await readlink(`/proc/${pid}/exe`);
  const script = /([\w-]+)\.js\b/.exec(command)?.[1];
  if (basename(program) === 'node' && script !== undefined) return `${script} (Node)`;
  const suite = dirname(program)
    .split('/')
    .find((part) => part === 'postfix' || part === 'dovecot');
  return suite === undefined ? basename(program) : `${suite}/${basename(program)}`;
}

function totalOf(usage: Usage): number {
  return usage.values().reduce((total, { bytes }) => total + bytes, 0);
}

function perProcess(idle: Usage, busy: Usage): BenchTable {
  const cell = (usage: Usage, name: string) => {
    const found = usage.get(name);
    if (found === undefined) return '';
    return `${format(found.bytes / 1e6)} MB${found.processes > 1 ? ` (${found.processes})` : ''}`;
  };
  const bytesIn = (usage: Usage, name: string) => usage.get(name)?.bytes ?? 0;
  const names = [...new Set([...idle.keys(), ...busy.keys()])].sort(
    (one, other) => bytesIn(busy, other) - bytesIn(busy, one) || bytesIn(idle, other) - bytesIn(idle, one),
  );
  return {
    head: ['process (how many)', 'idle', `${clientCount} clients`],
    lines: names.map((name) => [name, cell(idle, name), cell(busy, name)]),
  };
}
