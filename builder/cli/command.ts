/** What every verb of the command line is, and what it is given. Verbs live in commands/, one file each. */
import type { Readable, Writable } from 'node:stream';
import { parseArgs, type ParseArgsConfig } from 'node:util';
import { CliError } from './errors.ts';

/** The outside world of one run, handed in so that tests call commands in process. */
export interface CommandContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly stdin: Readable & { readonly isTTY?: boolean | undefined };
  readonly stdout: Writable & { readonly isTTY?: boolean | undefined; readonly columns?: number | undefined };
  readonly stderr: Writable & { readonly isTTY?: boolean | undefined; readonly columns?: number | undefined };
  /** Aborted on Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  /** Aborted on the second one: whoever takes time to stop properly stops at once. */
  readonly force?: AbortSignal;
  readonly clock: () => Date;
}

export interface Command {
  readonly name: string;
  /** One line for the list of verbs. */
  readonly summary: string;
  /** The whole text of `--help`. */
  readonly help: string;
  /** Does the work. Resolves to the exit code; failures are thrown. */
  run(args: readonly string[], context: CommandContext): Promise<number>;
}

type Options = NonNullable<ParseArgsConfig['options']>;

/**
 * node:util parseArgs, with its complaints as usage errors.
 * @throws CliError 'usage'
 */
export function parseFlags<T extends Options>(
  args: readonly string[],
  options: T,
  positionals: { readonly max: number },
) {
  try {
    const parsed = parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
    const extra = parsed.positionals[positionals.max];
    if (extra !== undefined) throw new Error(`Unexpected argument '${extra}'`);
    return parsed;
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    // parseArgs explains how to pass a positional that starts with a dash; a person who mistyped a flag
    // is not helped by that.
    throw new CliError('usage', text.split('. To specify')[0] ?? text, { cause: error });
  }
}
