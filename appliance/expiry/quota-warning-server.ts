/**
 * Where Dovecot reports a mailbox that is nearly full. Dovecot means to run a program through its script
 * service (src/lib-program-client/program-client-remote.c); this is that program, without a process:
 *
 *     VERSION TAB script TAB 4 TAB 0 LF  noreply LF  argument LF …  LF
 *
 * The one argument is the user.
 */
import { createServer } from 'node:net';
import { messageOf, ProtocolError } from '../base/errors.ts';
import { createLineReader } from '../base/line-reader.ts';
import type { Log } from '../base/log.ts';
import { listenOnUnixSocket } from '../base/unix-listen.ts';

const maxLineBytes = 512;
const maxLines = 16;
const maxConnections = 64;
const timeoutMs = 10_000;

/** Feeds on the bytes of one call; the arguments when it is complete, else null. @throws ProtocolError */
export function createScriptCallDecoder(): (chunk: Uint8Array) => string[] | null {
  const reader = createLineReader(maxLineBytes);
  const lines: string[] = [];
  return (chunk) => {
    for (const bytes of reader.push(chunk)) {
      const line = bytes.toString('utf8');
      if (lines.length === 0 && !line.startsWith('VERSION\tscript\t4\t')) {
        throw new ProtocolError('Not a call of the script protocol, version 4');
      }
      if (lines.length === 1 && line !== 'noreply' && line !== '-') {
        throw new ProtocolError(`Unknown script option ${JSON.stringify(line)}`);
      }
      if (line === '' && lines.length >= 2) return lines.slice(2);
      if (lines.length >= maxLines) throw new ProtocolError(`Script call of more than ${maxLines} lines`);
      lines.push(line);
    }
    return null;
  };
}

/** Starts listening; `nearlyFull` is called with what Dovecot gave as the user. */
export async function startQuotaWarningServer(options: {
  readonly socketPath: string;
  readonly nearlyFull: (user: string) => void;
  readonly log: Log;
}): Promise<AsyncDisposable> {
  const { log } = options;
  const server = createServer((socket) => {
    const decode = createScriptCallDecoder();
    socket.setTimeout(timeoutMs, () => socket.destroy());
    socket.on('error', (error) => log.debug('quota warning failed', { reason: error.message }));
    socket.on('data', (chunk: Buffer) => {
      try {
        const args = decode(chunk);
        if (args === null) return;
        if (args[0] !== undefined) options.nearlyFull(args[0]);
        socket.end();
      } catch (error) {
        log.warn('quota warning refused', { reason: messageOf(error) });
        socket.destroy();
      }
    });
  });
  server.maxConnections = maxConnections;
  await listenOnUnixSocket(server, options.socketPath);
  return {
    async [Symbol.asyncDispose]() {
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
