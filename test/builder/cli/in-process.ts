/** The command line called in process, with what it writes. */
import { tmpdir } from 'node:os';
import { PassThrough } from 'node:stream';
import type { CommandContext } from '../../../builder/cli/command.ts';
import { run } from '../../../builder/cli/main.ts';

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export async function cli(
  argv: readonly string[],
  context: Partial<Pick<CommandContext, 'env' | 'cwd' | 'signal'>> = {},
): Promise<CliResult> {
  const out = { stdout: '', stderr: '' };
  const sink = (name: 'stdout' | 'stderr') =>
    new PassThrough().on('data', (chunk: Buffer) => {
      out[name] += chunk.toString();
    });
  const code = await run(argv, {
    env: {},
    cwd: tmpdir(),
    stdin: new PassThrough(),
    stdout: sink('stdout'),
    stderr: sink('stderr'),
    signal: new AbortController().signal,
    clock: () => new Date(0),
    ...context,
  });
  return { code, ...out };
}
