/**
 * Every way the command line fails on purpose: a code for scripts, what to do for people, and the exit
 * code (1 failed, 2 wrong usage). A CliError's message says what happened and where.
 */
import { ConfigError, IntegrityError, messageOf, systemCode } from '../../appliance/base/errors.ts';

const table = {
  usage: { exit: 2, fix: 'Run "chatmail-build --help" for what can be asked' },
  config: { exit: 2, fix: 'Mend the value and run the command again' },
  integrity: {
    exit: 1,
    fix: 'Nothing was used of it. Try another mirror with --mirror; if it happens again, somebody may be tampering with your downloads',
  },
  'not-writable': {
    exit: 1,
    fix: 'Choose another directory with --out, or give yourself the right to write there',
  },
  'disk-full': { exit: 1, fix: 'Free some space, or choose another disk with --out' },
  interrupted: { exit: 130, fix: 'Run the same command again: what was downloaded is kept' },
  missing: { exit: 2, fix: 'Check the path' },
  failed: { exit: 1, fix: 'Run it again; if it stays, report it with the text above' },
} as const;

export type CliErrorCode = keyof typeof table;

export class CliError extends Error {
  override name = 'CliError';
  readonly code: CliErrorCode;
  readonly fix: string;
  constructor(code: CliErrorCode, message: string, options?: ErrorOptions & { fix?: string }) {
    super(message, options);
    this.code = code;
    this.fix = options?.fix ?? table[code].fix;
  }
}

export interface ErrorReport {
  readonly code: string;
  readonly message: string;
  readonly fix: string;
  readonly exitCode: number;
}

/** Anything thrown, as the sentence a person sees, its fix, and the exit code. */
export function reportOf(thrown: unknown): ErrorReport {
  if (thrown instanceof CliError) return entry(thrown.code, thrown.message, thrown.fix);
  if (thrown instanceof ConfigError) return entry('config', thrown.message, thrown.fix);
  if (thrown instanceof IntegrityError) return entry('integrity', thrown.message);
  if (thrown instanceof Error && thrown.name === 'AbortError') return interruptedReport;
  const message = messageOf(thrown);
  // Modules below the command line say what to do in `fix`, without knowing this table.
  if (thrown instanceof Error && 'fix' in thrown && typeof thrown.fix === 'string') {
    const code = 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : 'failed';
    return { code, message, fix: thrown.fix, exitCode: 1 };
  }
  switch (systemCode(thrown)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return entry('disk-full', `The disk is full: ${message}`);
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return entry('not-writable', `Cannot write there: ${message}`);
    case 'ENOENT':
      return entry('missing', `There is no such file: ${message}`);
    default:
      return entry('failed', message);
  }
}

/** What is said after Ctrl-C. */
export const interruptedReport = entry('interrupted', 'Interrupted');

function entry(code: CliErrorCode, message: string, fix: string = table[code].fix): ErrorReport {
  return { code, message, fix, exitCode: table[code].exit };
}
