/** A run of `chatmail-build dns` in this process: what it wrote, and its exit code. */
import { PassThrough } from 'node:stream';
import { runDns } from '../../../builder/cli/commands/dns.ts';
import { reportOf } from '../../../builder/cli/errors.ts';
import type { DnsWorld } from '../../../builder/dns/world.ts';

export interface Run {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout as JSON lines. */
  readonly events: readonly Readonly<Record<string, unknown>>[];
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly world?: DnsWorld;
  readonly cwd?: string;
  /** Typed on a terminal, line by line; without it nobody can be asked. */
  readonly typed?: string;
  readonly signal?: AbortSignal;
}

export async function dns(args: readonly string[], options: RunOptions = {}): Promise<Run> {
  const output = { stdout: '', stderr: '' };
  const sink = (name: keyof typeof output) => {
    const stream = Object.assign(new PassThrough(), {
      isTTY: options.typed !== undefined && name === 'stderr',
    });
    stream.on('data', (chunk: Buffer) => (output[name] += chunk.toString()));
    return stream;
  };
  const stdin = Object.assign(new PassThrough(), { isTTY: options.typed !== undefined });
  if (options.typed !== undefined) stdin.write(options.typed);
  const context = {
    env: options.env ?? {},
    cwd: options.cwd ?? process.cwd(),
    stdin,
    stdout: sink('stdout'),
    stderr: sink('stderr'),
    signal: options.signal ?? AbortSignal.timeout(60_000),
    clock: () => new Date('2026-11-20T12:00:00Z'),
  };
  let exitCode: number;
  try {
    exitCode = await runDns(args, context, options.world);
  } catch (error) {
    const report = reportOf(error);
    output.stderr += `error: ${report.message}\n  fix: ${report.fix}\n`;
    exitCode = report.exitCode;
  }
  await new Promise((resolve) => setImmediate(resolve));
  const events = args.includes('--json')
    ? output.stdout
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>)
    : [];
  return { exitCode, ...output, events };
}
