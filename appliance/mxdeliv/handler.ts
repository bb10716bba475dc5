/**
 * Delivery from other relays over HTTPS: `POST /mxdeliv`, the raw message as body, the envelope in headers.
 * The message goes through our own Postfix on loopback, to the same milter, filter and queue as one that
 * came on port 25; what Postfix answers is what the other relay is told. It is streamed, and counts as taken
 * only once Postfix has it safe.
 *
 * 200 and an SMTP reply: delivered · 400 and one: refused · 405 · 413: too large · 503: too many at once.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ClientCounter, clientKey } from '../base/client-address.ts';
import { messageOf, ProtocolError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { SmtpSessionError } from '../smtp/client.ts';
import { formatReply, isAccepted } from '../smtp/reply.ts';
import { readEnvelope } from './envelope.ts';
import { createInjector } from './injector.ts';

export interface MxDelivOptions {
  /** Asked for each request, so that a new configuration counts at once. */
  readonly limits: () => { readonly maxMessageBytes: number; readonly maxRecipients: number };
  /** Where Postfix takes mail for its own domain and nothing else; on loopback. */
  readonly injectionPort: number;
  /** The relay's name, for EHLO. */
  readonly localName: string;
  readonly log: Log;
  /** Requests at once; each may hold an smtpd. @default 50 */
  readonly maxConcurrent?: number;
  /** Those of one address (or /64): others must get their turn beside one that drips. @default 16 */
  readonly maxPerClient?: number;
  /** How long a peer may take besides the time its bytes may. @default 60,000 */
  readonly timeoutMs?: number;
}

export type MxDelivHandler = ((request: IncomingMessage, response: ServerResponse) => void) & Disposable;

/** A peer that sends slower than this is cut off; a 30 MB message then has half an hour. */
const minBytesPerSecond = 16 * 1024;

const texts = {
  tooLarge: '552 Message exceeds maximum size',
  busy: '421 4.3.2 Transport busy',
  brokenLines: '554 5.6.0 Bare CR or bare LF refused',
  unavailable: '451 4.3.0 Temporary failure, try again later',
} as const;

/** The body is over the limit, though nothing announced it. */
class TooLargeError extends Error {}

/** Dispose of it when its server has closed. */
export function createMxDelivHandler(options: MxDelivOptions): MxDelivHandler {
  const { injectionPort, localName, log, maxConcurrent = 50, timeoutMs = 60_000 } = options;
  const injector = createInjector({ port: injectionPort, localName });
  const clients = new ClientCounter(options.maxPerClient ?? 16);
  let active = 0;

  const deliver = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { maxMessageBytes, maxRecipients } = options.limits();
    const envelope = readEnvelope(request.headersDistinct, maxRecipients);
    if ('refusal' in envelope) {
      answer(response, 400, envelope.refusal);
      return;
    }
    const announced = request.headers['content-length'];
    const sizeBytes = announced === undefined ? undefined : Number(announced);
    if (sizeBytes !== undefined && sizeBytes > maxMessageBytes) throw new TooLargeError();
    using patience = createPatience(timeoutMs);
    // A peer that leaves in the middle must not leave a session with Postfix behind.
    const onClose = () => patience.abort(new Error('The peer closed the connection'));
    response.once('close', onClose);
    try {
      const body = () => limited(request, maxMessageBytes, patience.progress);
      const reply = await injector.inject(
        { ...envelope, body, ...(sizeBytes === undefined ? {} : { sizeBytes }) },
        patience.signal,
      );
      answer(response, isAccepted(reply) ? 200 : 400, formatReply(reply));
    } finally {
      response.removeListener('close', onClose);
    }
  };

  const fail = (response: ServerResponse, error: unknown): void => {
    if (error instanceof TooLargeError) answer(response, 413, texts.tooLarge, 'close');
    else if (error instanceof ProtocolError) answer(response, 400, texts.brokenLines, 'close');
    else if (response.destroyed) log.debug('peer-left');
    else {
      // Told to nobody but us: which of our parts failed is not the peer's business.
      const stage = error instanceof SmtpSessionError ? error.stage : undefined;
      log.warn('delivery-failed', { reason: messageOf(error), stage });
      answer(response, 400, texts.unavailable, 'close');
    }
  };

  const handler = (request: IncomingMessage, response: ServerResponse): void => {
    // Without a listener a connection that breaks would end the process.
    request.on('error', () => {});
    response.on('error', () => {});
    const client = clientKey(request.socket.remoteAddress ?? '');
    if (request.method !== 'POST') {
      response.setHeader('allow', 'POST');
      answer(response, 405, '502 5.5.1 Method not allowed');
    } else if (active >= maxConcurrent || !clients.tryEnter(client)) {
      response.setHeader('retry-after', '10');
      answer(response, 503, texts.busy, 'close');
    } else {
      active++;
      deliver(request, response)
        .catch((error: unknown) => fail(response, error))
        .finally(() => {
          active--;
          clients.leave(client);
          // What a refused message still sends is thrown away, so that the answer can be read.
          request.resume();
        });
    }
  };
  return Object.assign(handler, { [Symbol.dispose]: () => injector[Symbol.dispose]() });
}

function answer(response: ServerResponse, status: number, text: string, connection?: 'close'): void {
  if (response.headersSent || response.destroyed) return;
  const body = `${text}\r\n`;
  if (connection !== undefined) response.setHeader('connection', connection);
  response.writeHead(status, {
    'content-type': 'text/plain; charset=us-ascii',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

async function* limited(
  request: IncomingMessage,
  maxBytes: number,
  progress: (bytes: number) => void,
): AsyncGenerator<Buffer> {
  let sizeBytes = 0;
  // Not destroyed when we stop early: the answer has to go out over the same connection.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) throw new TooLargeError();
    progress(chunk.length);
    yield chunk;
  }
}

interface Patience extends Disposable {
  readonly signal: AbortSignal;
  /** More time, for bytes that came. */
  readonly progress: (bytes: number) => void;
  abort(reason: Error): void;
}

/** A deadline that moves with what arrives: a slow line may take its time, one that drips may not. */
function createPatience(timeoutMs: number): Patience {
  const controller = new AbortController();
  let allowedMs = 0;
  const check = () => {
    if (allowedMs < 1) controller.abort(new Error('The peer is too slow'));
    else {
      timer = setTimeout(check, allowedMs);
      allowedMs = 0;
    }
  };
  let timer = setTimeout(check, timeoutMs);
  return {
    signal: controller.signal,
    progress: (bytes) => {
      allowedMs += (bytes * 1000) / minBytesPerSecond;
    },
    abort: (reason) => controller.abort(reason),
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}
