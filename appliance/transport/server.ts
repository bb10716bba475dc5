/**
 * What Postfix hands outgoing mail to: an LMTP server on a unix socket. It keeps nothing: a message is either
 * delivered while Postfix waits, or stays in Postfix's queue, so that no restart loses any.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import type { ByteAccount, ByteBudget } from '../base/byte-budget.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { listenOnUnixSocket } from '../base/unix-listen.ts';
import { formatReply, replyOf, type SmtpReply } from '../smtp/reply.ts';
import type { OutgoingMessage } from './deliver.ts';
import { type LmtpEvent, type LmtpLimits, LmtpSession, tooLarge } from './lmtp-session.ts';

export interface TransportServerOptions extends LmtpLimits {
  /** Path of the unix socket, made with mode 0660 in the group of its directory. A stale one is replaced. */
  readonly path: string;
  /** One reply for each recipient, in their order. */
  readonly deliver: (message: OutgoingMessage, signal: AbortSignal) => Promise<readonly SmtpReply[]>;
  /** Messages on their way, all together. */
  readonly budget: ByteBudget;
  readonly log: Log;
  /** Quiet time after which a connection is closed. Longer than Postfix keeps one. @default 300,000 */
  readonly idleTimeoutMs?: number;
  /** For a whole delivery. @default 570,000 */
  readonly deliveryTimeoutMs?: number;
}

/** Postfix gives up after 600 s (lmtp_data_done_timeout), and would deliver twice. */
const defaultDeliveryTimeoutMs = 570_000;

const noMemory = replyOf('452 4.3.1 Too many messages on their way, try again later');
const failed = replyOf('451 4.3.0 Internal error, try again later');

/** Listens; resolved once Postfix can connect. */
export async function startTransportServer(options: TransportServerOptions): Promise<AsyncDisposable> {
  const { path, log, idleTimeoutMs = 300_000 } = options;
  const stop = new AbortController();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // The loop below sees errors; one that comes after it must not end the process.
    socket.on('error', () => {});
    socket.setTimeout(idleTimeoutMs, () => socket.destroy());
    serve(socket, options, stop.signal)
      .catch((error: unknown) => {
        if (!stop.signal.aborted) log.warn('transport-connection', { reason: messageOf(error) });
      })
      .finally(() => socket.destroy());
  });
  await listenOnUnixSocket(server, path);
  server.on('error', (error) => log.error('transport-server', { reason: messageOf(error) }));
  return {
    async [Symbol.asyncDispose]() {
      stop.abort(new Error('The relay stops'));
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** One message as it comes in. */
interface Incoming {
  readonly sender: string;
  readonly recipients: readonly string[];
  readonly account: ByteAccount;
  readonly parts: Buffer[];
  sizeBytes: number;
  /** Why the rest is thrown away. */
  refusal: SmtpReply | undefined;
}

async function serve(socket: Socket, options: TransportServerOptions, signal: AbortSignal): Promise<void> {
  const session = new LmtpSession(options);
  let incoming: Incoming | undefined;
  const say = async (text: string): Promise<void> => {
    if (!socket.write(`${text}\r\n`)) await once(socket, 'drain', { signal });
  };
  const handle = async (event: LmtpEvent): Promise<void> => {
    switch (event.kind) {
      case 'reply':
        return say(event.text);
      case 'data':
        incoming = {
          sender: event.sender,
          recipients: event.recipients,
          account: options.budget.account(),
          parts: [],
          sizeBytes: 0,
          refusal: undefined,
        };
        return say('354 Go ahead');
      case 'part':
        if (incoming !== undefined) keep(incoming, event.bytes, options);
        return;
      case 'end': {
        if (incoming === undefined) return;
        const message = incoming;
        incoming = undefined;
        using _account = message.account;
        const replies = await conclude(message, options, signal);
        return say(replies.map(formatReply).join('\r\n'));
      }
      case 'quit':
        await say('221 2.0.0 Bye');
        socket.end();
    }
  };
  try {
    await say(session.greeting);
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      session.push(chunk);
      for (let event = session.next(); event !== null; event = session.next()) await handle(event);
    }
  } catch (error) {
    if (!socket.destroyed) throw error;
  } finally {
    incoming?.account.release();
  }
}

function keep(incoming: Incoming, bytes: Buffer, { maxMessageBytes }: TransportServerOptions): void {
  if (incoming.refusal !== undefined) return;
  incoming.sizeBytes += bytes.length;
  if (incoming.sizeBytes > maxMessageBytes) incoming.refusal = replyOf(tooLarge);
  else if (!incoming.account.hold(bytes.length)) incoming.refusal = noMemory;
  else {
    incoming.parts.push(bytes);
    return;
  }
  incoming.parts.length = 0;
  incoming.account.release();
}

async function conclude(
  { sender, recipients, parts, sizeBytes, refusal }: Incoming,
  { deliver, log, deliveryTimeoutMs = defaultDeliveryTimeoutMs }: TransportServerOptions,
  signal: AbortSignal,
): Promise<readonly SmtpReply[]> {
  if (refusal !== undefined) return recipients.map(() => refusal);
  const over = AbortSignal.any([signal, AbortSignal.timeout(deliveryTimeoutMs)]);
  const { promise: end, reject } = Promise.withResolvers<never>();
  // Whatever a server of others does to a delivery, its place in the budget is free again.
  over.addEventListener('abort', () => reject(over.reason), { once: true });
  try {
    return await Promise.race([deliver({ sender, recipients, body: parts, sizeBytes }, over), end]);
  } catch (error) {
    signal.throwIfAborted();
    log.error('transport-delivery', { reason: messageOf(error) });
    return recipients.map(() => failed);
  }
}
