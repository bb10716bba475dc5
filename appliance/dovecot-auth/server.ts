/** Answers Postfix's SASL requests (`smtpd_sasl_type = dovecot`) on a unix socket. */
import { randomBytes } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { listenOnUnixSocket } from '../base/unix-listen.ts';
import { type Authenticate, createAuthSession } from './session.ts';

/** One connection each smtpd process; Postfix's limits lie far below. */
const maxConnections = 4096;

export interface AuthServerOptions {
  readonly socketPath: string;
  readonly authenticate: Authenticate;
  readonly log: Log;
}

/** Starts listening; the server ends when disposed of, with its connections. */
export async function startSaslServer(options: AuthServerOptions): Promise<AsyncDisposable> {
  const { log } = options;
  const sockets = new Set<Socket>();
  let connectionId = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', (error) => log.debug('sasl connection failed', { reason: error.message }));
    connectionId += 1;
    const session = createAuthSession({
      greeting: { pid: process.pid, connectionId, cookie: randomBytes(16).toString('hex') },
      authenticate: options.authenticate,
      write: (text) => void (socket.writable && socket.write(text)),
      fail: (error) => log.error('login failed', { reason: messageOf(error) }),
    });
    socket.on('data', (chunk: Buffer) => {
      try {
        session.push(chunk);
      } catch (error) {
        log.warn('sasl connection closed', { reason: messageOf(error) });
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
