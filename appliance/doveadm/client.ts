/**
 * Runs doveadm commands through Dovecot's doveadm service on a unix socket (Dovecot
 * src/doveadm/client-connection-tcp.c), so that mail goes away together with its index entries and quota.
 *
 *     → VERSION TAB doveadm-server TAB 1 TAB 0          ← +
 *     → flags TAB user TAB command TAB argument …       ← field TAB field TAB … LF, then + or -CODE
 *
 * Minor version 0 has no multiplexing: two lines for each command. Listens with mode 0600, the server asks
 * for no password.
 */
import { createConnection, type Socket } from 'node:net';
import { ProtocolError } from '../base/errors.ts';
import { createLineReader } from '../base/line-reader.ts';
import { escapeTabs, unescapeTabs } from '../base/tab-escape.ts';

/** A mailbox of 100,000 messages, listed with uid, size and date. */
const maxReplyBytes = 8 * 1024 * 1024;
const commandTimeoutMs = 120_000;

/** The command failed; `reason` is doveadm's word for it (NOUSER, TEMPFAIL, NOTFOUND …). */
export class DoveadmError extends Error {
  override name = 'DoveadmError';
  readonly code = 'doveadm';
  readonly reason: string;
  constructor(command: string, reason: string) {
    super(`doveadm ${command} failed: ${reason}`);
    this.reason = reason;
  }
}

export interface Doveadm extends Disposable {
  /**
   * Runs one command for `user` and returns its output fields in order. One at a time.
   * @throws DoveadmError when doveadm refuses; Error when the connection fails, which cannot be used again
   */
  run(user: string, command: string, args: readonly string[]): Promise<string[]>;
}

/** One command as a line. @throws RangeError on a NUL, which no argument can hold */
export function encodeCommand(user: string, command: string, args: readonly string[]): string {
  const fields = ['', user, command, ...args];
  if (fields.some((field) => field.includes('\0'))) throw new RangeError('A doveadm argument holds a NUL');
  return `${fields.map(escapeTabs).join('\t')}\n`;
}

/** The fields of an output line; each is ended, not separated, by a tab. */
export function decodeFields(line: string): string[] {
  if (line === '') return [];
  const fields = line.split('\t');
  if (fields.pop() !== '') throw new ProtocolError('doveadm output ends within a field');
  return fields.map(unescapeTabs);
}

/** Lines as promises; what the socket's end means is decided by who waits. */
function readLines(socket: Socket): () => Promise<string> {
  const reader = createLineReader(maxReplyBytes);
  const lines: string[] = [];
  let failure: Error | undefined;
  let wake: () => void = () => {};
  const fail = (error: Error) => {
    failure ??= error;
    wake();
  };
  socket.on('data', (chunk: Buffer) => {
    try {
      lines.push(...reader.push(chunk).map((line) => line.toString('utf8')));
      wake();
    } catch (error) {
      socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  });
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('doveadm closed the connection')));
  return async () => {
    for (;;) {
      const line = lines.shift();
      if (line !== undefined) return line;
      if (failure !== undefined) throw failure;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
}

/** Connects; `signal` ends everything under way. */
export async function connectDoveadm(socketPath: string, signal: AbortSignal): Promise<Doveadm> {
  signal.throwIfAborted();
  const socket = createConnection({ path: socketPath });
  socket.setTimeout(commandTimeoutMs, () => socket.destroy(new Error('doveadm does not answer')));
  const abort = () => socket.destroy(new Error('Stopped while doveadm worked', { cause: signal.reason }));
  signal.addEventListener('abort', abort, { once: true });
  const close = () => {
    signal.removeEventListener('abort', abort);
    socket.destroy();
  };
  const readLine = readLines(socket);
  try {
    socket.write('VERSION\tdoveadm-server\t1\t0\n');
    // A newer Dovecot may send its own version line first.
    let greeting = await readLine();
    if (greeting.startsWith('VERSION\t')) greeting = await readLine();
    if (greeting !== '+') throw new ProtocolError('doveadm wants a password: its socket must have mode 0600');
  } catch (error) {
    close();
    throw error;
  }
  return {
    async run(user, command, args) {
      socket.write(encodeCommand(user, command, args));
      const output = await readLine();
      const status = await readLine();
      if (status === '+') return decodeFields(output);
      throw new DoveadmError(command, status.replace(/^-/, '') || 'no reason given');
    },
    [Symbol.dispose]: close,
  };
}
