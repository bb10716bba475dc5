/** What every bench returns, how it is shown, and how it measures. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import process from 'node:process';
import type { DebianTools } from '../debian-tools.ts';

/** One figure: ours, and where there is one the peer's of the same run. */
export interface BenchRow {
  readonly what: string;
  readonly ours: number;
  readonly peer?: number;
  readonly peerName?: string;
  readonly unit: string;
  /** Whether the ratio column divides the peer's by ours (the default: less is better) or ours by the peer's. */
  readonly better?: 'less' | 'more';
  /** The goal in words, and whether this run met it. */
  readonly goal?: { readonly text: string; readonly met: boolean };
}

/** Figures that are no comparison: processes, percentiles, steps. */
export interface BenchTable {
  readonly head: readonly string[];
  readonly lines: readonly (readonly string[])[];
}

export interface BenchReport {
  readonly rows: readonly BenchRow[];
  readonly tables?: readonly BenchTable[];
  /** What a reader has to know to judge the figures: sizes, versions, what the peer was spared. */
  readonly remarks?: readonly string[];
}

export interface BenchContext {
  /** A directory for this run, removed afterwards. */
  readonly directory: string;
  /** Fires when the run is to end; whatever was made has to go then. */
  readonly signal: AbortSignal;
  /** A line about what is going on, on stderr. */
  readonly note: (text: string) => void;
}

export interface Bench {
  readonly name: string;
  readonly title: string;
  /** Without these it is skipped. */
  readonly needs: { readonly root: boolean; readonly tools: DebianTools };
  run(context: BenchContext): Promise<BenchReport>;
}

/** A report in Markdown. */
export function renderReport({ rows, tables = [], remarks = [] }: BenchReport): string {
  const cells = rows.map((row) => [
    row.what,
    `${format(row.ours)} ${row.unit}`,
    row.peer === undefined ? '' : `${format(row.peer)} ${row.unit} (${row.peerName ?? 'peer'})`,
    row.peer === undefined ? '' : `${ratio(row.peer, row.ours, row.better).toFixed(2)}×`,
    row.goal === undefined ? '' : `${row.goal.text}: ${row.goal.met ? 'met' : '**missed**'}`,
  ]);
  const all = [{ head: ['', 'ours', 'peer', 'advantage', 'goal'], lines: cells }, ...tables];
  return [...all.map(renderTable), ...(remarks.length > 0 ? [remarks.join(' ')] : [])].join('\n\n');
}

function renderTable({ head, lines }: BenchTable): string {
  return [head, head.map(() => '---'), ...lines].map((line) => `| ${line.join(' | ')} |`).join('\n');
}

/** How many times better ours is; below 1 it is worse. */
export function ratio(peer: number, ours: number, better: BenchRow['better'] = 'less'): number {
  return better === 'less' ? peer / ours : ours / peer;
}

/** Three significant digits, which is more than any of these measurements deserve. */
export function format(value: number): string {
  if (value >= 100 || value === 0) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value >= 1 ? value.toFixed(2) : value.toPrecision(2);
}

/** The middle of several measurements. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  const [low, high] = [sorted[sorted.length % 2 === 0 ? middle - 1 : middle], sorted[middle]];
  if (low === undefined || high === undefined) throw new RangeError('No values');
  return (low + high) / 2;
}

/** The least of the values that `share` (0–1) of all do not exceed (nearest rank). */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  const found = sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
  if (found === undefined) throw new RangeError('No values');
  return found;
}

/** Seconds of wall time that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

/** The end of what a command said, for the error. */
const maxErrorChars = 4000;

/**
 * Runs a command to its end; what it writes to stdout is thrown away.
 * @throws Error with the end of its stderr when it fails
 */
export async function runTool(
  command: string,
  args: readonly string[],
  { signal, env = {} }: { readonly signal: AbortSignal; readonly env?: Readonly<Record<string, string>> },
): Promise<void> {
  const child = spawn(command, args, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...env },
    signal,
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    said = (said + chunk).slice(-maxErrorChars);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with code ${code}: ${said}`);
}
