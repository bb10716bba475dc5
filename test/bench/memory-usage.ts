/**
 * What the processes of a relay in namespaces cost: proportional set size (PSS, which divides shared pages
 * among those that share them), by name. The kernel's own memory and what lies in tmpfs are not in it.
 */
import { readFile, readlink } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { type RelayNamespace, waitUntil } from '../vm/relay-namespace.ts';
import { type BenchTable, format } from './bench.ts';

/** Bytes and number of processes by name. */
export type Usage = ReadonlyMap<string, { readonly bytes: number; readonly processes: number }>;

export async function usageOf(relay: RelayNamespace): Promise<Usage> {
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

/** Waits until Dovecot has put the connections that idle to sleep. */
export async function waitForHibernation(relay: RelayNamespace): Promise<void> {
  const awake = async () => (await usageOf(relay)).get('dovecot/imap')?.processes ?? 0;
  // One may stay for the next that wakes up.
  await waitUntil(
    async () => (await awake()) <= 1,
    60_000,
    () => 'hibernation',
  );
}

export function totalOf(usage: Usage): number {
  return usage.values().reduce((total, { bytes }) => total + bytes, 0);
}

export function perProcess(idle: Usage, busy: Usage, clientCount: number): BenchTable {
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
