/**
 * What Dovecot's Lua scripts ask (templates/dovecot/auth.lua, push.lua): HTTP on a unix socket.
 * Requests are forms (application/x-www-form-urlencoded), answers a status and a few lines.
 *
 *     POST /login      user password       200 address LF home LF · 403 · 503
 *     POST /lookup     user service        200 address LF home LF · 404
 *     POST /delivered  user from           204
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { messageOf, ProtocolError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { listenOnUnixSocket } from '../base/unix-listen.ts';
import type { Authenticate } from './session.ts';

/** A name and a password of 1 KiB, every byte of it escaped, fit well. */
const maxBodyBytes = 8192;

/** Dovecot's workers keep their connection; they must not find it closed under a request. */
const keepAliveMs = 120_000;

export interface AuthHttpOptions {
  readonly socketPath: string;
  readonly authenticate: Authenticate;
  /** The canonical address of an account, or null. `service` is Dovecot's name: imap, lmtp, doveadm. */
  readonly lookup: (username: string, service: string) => string | null;
  /** The account's directory. */
  readonly homeOf: (address: string) => string;
  /** Mail from `from` (may be empty) was put into the mailbox of `address`. */
  readonly delivered: (address: string, from: string) => void;
  readonly log: Log;
}

interface Answer {
  readonly status: number;
  readonly body?: string;
}

async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) throw new TypeError('Request has an encoding');
    sizeBytes += chunk.length;
    if (sizeBytes > maxBodyBytes) throw new ProtocolError(`Body longer than ${maxBodyBytes} bytes`);
    chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'));
}

/** Starts listening; the server ends when disposed of, with its connections. */
export async function startAuthHttpServer(options: AuthHttpOptions): Promise<AsyncDisposable> {
  const { authenticate, lookup, homeOf, delivered, log } = options;
  const found = (address: string): Answer => ({ status: 200, body: `${address}\n${homeOf(address)}\n` });

  async function answer(path: string, form: URLSearchParams): Promise<Answer> {
    const user = form.get('user') ?? '';
    switch (path) {
      case '/login': {
        const outcome = await authenticate(user, form.get('password') ?? '');
        if (outcome.kind === 'accepted') return found(outcome.address);
        return { status: outcome.kind === 'denied' ? 403 : 503 };
      }
      case '/lookup': {
        const address = lookup(user, form.get('service') ?? '');
        return address === null ? { status: 404 } : found(address);
      }
      case '/delivered':
        delivered(user, form.get('from') ?? '');
        return { status: 204 };
      default:
        return { status: 400 };
    }
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let reply: Answer;
    try {
      if (request.method !== 'POST') throw new ProtocolError(`Method ${request.method} is not POST`);
      // Through proxy_socket_path Dovecot sends the absolute form: http://relay/login.
      const { pathname } = new URL(request.url ?? '/', 'http://relay');
      reply = await answer(pathname, await readForm(request));
    } catch (error) {
      const isPeersFault = error instanceof ProtocolError;
      log[isPeersFault ? 'warn' : 'error']('auth request failed', { reason: messageOf(error) });
      reply = { status: isPeersFault ? 400 : 503 };
    }
    if (reply.status === 400) response.setHeader('connection', 'close');
    response.writeHead(reply.status, { 'content-type': 'text/plain' }).end(reply.body ?? '');
  }

  const server = createServer(
    { keepAliveTimeout: keepAliveMs, requestTimeout: 30_000, maxHeaderSize: 4096 },
    (request, response) => {
      handle(request, response).catch((error: unknown) => {
        log.error('auth answer failed', { reason: messageOf(error) });
        response.destroy();
      });
    },
  );
  await listenOnUnixSocket(server, options.socketPath);
  return {
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
