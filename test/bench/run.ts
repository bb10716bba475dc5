/**
 * `npm run bench [-- name …]`: measures, against peers in the same run, and prints Markdown on stdout; what
 * is going on is told on stderr. Nothing here passes or fails: a goal that is missed is shown as missed.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { installPackages, isRoot, missingPackages, searchPath } from '../debian-tools.ts';
import { type Bench, renderReport } from './bench.ts';
import { bootBench } from './boot.ts';
import { buildBench } from './build.ts';
import { flashBench } from './flash.ts';
import { latencyBench } from './latency.ts';
import { memoryBench } from './memory.ts';
import { smallMemoryBench } from './memory-small.ts';
import { milterBench } from './milter.ts';
import { muxBench } from './mux.ts';
import { sizesBench } from './sizes.ts';
import { mxdelivBench } from './mxdeliv.ts';
import { squashfsBench } from './squashfs.ts';
import { writesBench } from './writes.ts';

const benches: readonly Bench[] = [
  squashfsBench,
  milterBench,
  muxBench,
  memoryBench,
  smallMemoryBench,
  latencyBench,
  mxdelivBench,
  bootBench,
  buildBench,
  flashBench,
  sizesBench,
  writesBench,
];

const note = (text: string): void => void process.stderr.write(`${text}\n`);

/** Why a bench cannot run here; null when it can. */
function obstacle({ needs }: Bench): string | null {
  if (process.platform !== 'linux') return 'it needs Linux';
  if (needs.root && !isRoot) return 'it needs root';
  const missing = missingPackages(needs.tools);
  return missing.length > 0 ? `it needs the Debian packages ${missing.join(', ')}` : null;
}

function describeMachine(): string {
  const [first, ...others] = cpus();
  const model = first?.model.trim() ?? 'unknown processor';
  const memoryGb = (totalmem() / 1e9).toFixed(0);
  return `${others.length + 1} × ${model}, ${memoryGb} GB, Linux ${release()}, Node ${process.version}`;
}

async function runBench(bench: Bench, signal: AbortSignal): Promise<boolean> {
  process.stdout.write(`## ${bench.name}: ${bench.title}\n\n`);
  const directory = await mkdtemp(join(tmpdir(), `bench-${bench.name}-`));
  try {
    const report = await bench.run({
      directory,
      signal,
      note: (text) => note(`${bench.name}: ${text}`),
    });
    process.stdout.write(`${renderReport(report)}\n\n`);
    return true;
  } catch (error) {
    signal.throwIfAborted();
    note(`${bench.name} failed: ${error instanceof Error ? error.stack : String(error)}`);
    process.stdout.write('Failed, see stderr\n\n');
    return false;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.filter((name) => !benches.some((bench) => bench.name === name));
  if (unknown.length > 0) {
    note(`No bench is called ${unknown.join(', ')}; there are ${benches.map(({ name }) => name).join(', ')}`);
    return 2;
  }
  process.env.PATH = searchPath;
  const chosen = benches.filter(({ name }) => names.length === 0 || names.includes(name));
  const missing = new Set(chosen.flatMap(({ needs }) => missingPackages(needs.tools)));
  if (missing.size > 0) installPackages([...missing]);

  const stop = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.once(name, () => stop.abort(new Error(`Ended by ${name}`)));
  }
  const [load = 0] = loadavg();
  process.stdout.write(`${describeMachine()}; load ${load.toFixed(2)} at the start\n\n`);
  if (load > 0.3) note('This machine is busy: ratios may hold, seconds do not');
  let failed = 0;
  for (const bench of chosen) {
    const reason = obstacle(bench);
    if (reason !== null) {
      note(`Skipping ${bench.name}: ${reason}`);
      process.stdout.write(`## ${bench.name}: skipped, ${reason}\n\n`);
    } else if (!(await runBench(bench, stop.signal))) failed++;
  }
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
