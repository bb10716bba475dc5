/** What every bench returns, and how it is shown. Ratios within one run; seconds belong to the machine. */
import { spawnSync } from 'node:child_process';

export interface BenchRow {
  readonly what: string;
  readonly ours: number;
  /** The peer's figure in the same run; left out where there is none to compare with. */
  readonly peer?: number;
  readonly peerName?: string;
  readonly unit: string;
  /** The goal in words, and whether this run met it. */
  readonly goal?: { readonly text: string; readonly met: boolean };
}

export interface BenchContext {
  /** A directory for this run, removed afterwards. */
  readonly directory: string;
  readonly signal: AbortSignal;
  /** A line about what is going on, on stderr. */
  note(text: string): void;
}

export interface Bench {
  readonly name: string;
  readonly title: string;
  run(context: BenchContext): Promise<readonly BenchRow[]>;
}

/** A Markdown table of a bench's rows. */
export function renderRows(rows: readonly BenchRow[]): string {
  const cells = rows.map(({ what, ours, peer, peerName, unit, goal }) => [
    what,
    `${format(ours)} ${unit}`,
    peer === undefined ? '' : `${format(peer)} ${unit} (${peerName ?? 'peer'})`,
    peer === undefined || ours === 0 ? '' : `${(peer / ours).toFixed(2)}×`,
    goal === undefined ? '' : `${goal.text}: ${goal.met ? 'met' : 'MISSED'}`,
  ]);
  const head = ['', 'ours', 'peer', 'peer ÷ ours', 'goal'];
  return [head, head.map(() => '---'), ...cells].map((line) => `| ${line.join(' | ')} |`).join('\n');
}

function format(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 1 ? value.toFixed(2) : value.toFixed(4);
}

/** The middle of several measurements. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  const [low, high] = [sorted[sorted.length % 2 === 0 ? middle - 1 : middle], sorted[middle]];
  if (low === undefined || high === undefined) throw new RangeError('No values');
  return (low + high) / 2;
}

/** The value that `share` (0–1) of the measurements do not exceed. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  const found = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  if (found === undefined) throw new RangeError('No values');
  return found;
}

/** Seconds of wall time a command takes; its output is thrown away. */
export function timeCommand(command: string, args: readonly string[], cwd?: string): number {
  const started = performance.now();
  const result = spawnSync(command, args, { cwd, stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${result.stderr}`);
  return (performance.now() - started) / 1000;
}
