/** Serves Dovecot's `mail_attribute` dictionary on a unix socket. */
import { createServer, type Socket } from 'node:net';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { listenOnUnixSocket } from '../base/unix-listen.ts';
import { createDictSession, type Dictionary } from './session.ts';

/** One connection each imap process that asked for metadata and is not hibernating. */
const maxConnections = 10_000;

export interface DictServerOptions {
  readonly socketPath: string;
  readonly dictionary: Dictionary;
  readonly log: Log;
}

/** Starts listening; the server ends when disposed of, with its connections. */
export async function startDictServer(options: DictServerOptions): Promise<AsyncDisposable> {
  const { dictionary, log } = options;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', (error) => log.debug('dict connection failed', { reason: error.message }));
    const session = createDictSession(dictionary, (text) => {
      if (socket.writable && !socket.write(text)) {
        // Whoever asks faster than it reads waits.
        socket.pause();
        socket.once('drain', () => socket.resume());
      }
    });
    socket.on('data', (chunk: Buffer) => {
      try {
        session.push(chunk);
      } catch (error) {
        log.warn('dict connection closed', { reason: messageOf(error) });
        socket.destroy();
      }
    });
  });
  server.maxConnections = maxConnections;
  await listenOnUnixSocket(server, options.socketPath);
  return {
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
