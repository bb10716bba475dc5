/** Runs a short-lived tool to its end: bounded output, a deadline, no shell. */
import { spawn } from 'node:child_process';

export interface CommandOptions {
  readonly signal: AbortSignal;
  /** The tool is killed after so long. Default 60 s. */
  readonly timeoutMs?: number;
  /** Exit codes that are no failure. Default: only 0. */
  readonly okCodes?: readonly number[];
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** More than any tool used here has to say; what comes after it is dropped. */
const maxOutputChars = 256 * 1024;

/** A tool ended with an exit code that was not expected. */
export class CommandError extends Error {
  override name = 'CommandError';
  readonly result: CommandResult;
  constructor(command: readonly string[], result: CommandResult) {
    const said = (result.stderr.trim() || result.stdout.trim()).slice(-2000);
    super(`${command.join(' ')} ended with code ${result.code}${said === '' ? '' : `: ${said}`}`);
    this.result = result;
  }
}

/**
 * Runs `command` (an absolute path and its arguments).
 * @throws CommandError on an unexpected exit code (a death by signal counts as 128), Error when the tool
 *   is missing, takes longer than the deadline or `signal` fires
 */
export async function runCommand(
  command: readonly [string, ...string[]],
  options: CommandOptions,
): Promise<CommandResult> {
  const { signal, timeoutMs = 60_000, okCodes = [0] } = options;
  const [file, ...args] = command;
  const deadline = AbortSignal.timeout(timeoutMs);
  const child = spawn(file, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    signal: AbortSignal.any([signal, deadline]),
    killSignal: 'SIGKILL',
    cwd: '/',
    env: { PATH: '/usr/sbin:/usr/bin', ...options.env },
  });
  const collect = (stream: NodeJS.ReadableStream): (() => string) => {
    let text = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      if (text.length < maxOutputChars) text += chunk.slice(0, maxOutputChars - text.length);
    });
    return () => text;
  };
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  // A tool that does not read its input closes the pipe: its exit code says what there is to say.
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', (error) => {
      if (deadline.aborted && !signal.aborted) {
        reject(new Error(`${command.join(' ')} took longer than ${timeoutMs} ms`, { cause: error }));
      } else reject(error);
    });
    child.once('close', (exitCode) => resolve(exitCode ?? 128));
  });
  const result = { code, stdout: stdout(), stderr: stderr() };
  if (!okCodes.includes(code)) throw new CommandError(command, result);
  return result;
}
