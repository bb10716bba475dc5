/** Answers the web server about invite tokens: contract/invite-tokens.ts over HTTP on a unix socket. */
import { createServer, type IncomingMessage } from 'node:http';
import { messageOf, ProtocolError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { readBody } from '../base/read-body.ts';
import { listenOnUnixSocket } from '../base/unix-listen.ts';
import {
  decodeInviteTokenRequest,
  type InviteTokenAnswer,
  maxInviteTokenBodyBytes,
} from '../contract/invite-tokens.ts';
import type { InviteTokens } from './invite-tokens.ts';

export interface InviteTokenServerOptions {
  readonly socketPath: string;
  readonly inviteTokens: InviteTokens;
  readonly log: Log;
}

/** One web server asks, for as many as it lets wait. */
const maxConnections = 200;

/** Starts listening; the server ends when disposed of, with its connections. */
export async function startInviteTokenServer({
  socketPath,
  inviteTokens,
  log,
}: InviteTokenServerOptions): Promise<AsyncDisposable> {
  async function answer(request: IncomingMessage): Promise<InviteTokenAnswer> {
    if (request.method !== 'POST') throw new ProtocolError(`Method ${request.method} is not POST`);
    const asked = decodeInviteTokenRequest(await readBody(request, maxInviteTokenBodyBytes));
    if (request.url === '/check') return inviteTokens.check(asked);
    if (request.url === '/accounts') return inviteTokens.redeem(asked);
    throw new ProtocolError('There is no such question');
  }

  const server = createServer({ requestTimeout: 30_000, maxHeaderSize: 4096 }, (request, response) => {
    answer(request)
      .then((found) => ({ status: found.kind === 'created' ? 201 : 200, body: JSON.stringify(found) }))
      .catch((error: unknown) => {
        const isPeersFault = error instanceof ProtocolError;
        log[isPeersFault ? 'warn' : 'error']('invite token request failed', { reason: messageOf(error) });
        return { status: isPeersFault ? 400 : 500, body: '' };
      })
      .then(({ status, body }) => {
        if (status >= 400) response.setHeader('connection', 'close');
        response.writeHead(status, { 'content-type': 'application/json' }).end(body);
      })
      .catch(() => response.destroy());
  });
  server.maxConnections = maxConnections;
  await listenOnUnixSocket(server, socketPath);
  return {
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
