/**
 * One question to one name server: over UDP, again over TCP when the answer does not fit (RFC 7766). A
 * reply counts only when it comes from the server asked, with the id and the question asked.
 */
import { createSocket } from 'node:dgram';
import { randomInt } from 'node:crypto';
import { connect, isIPv6 } from 'node:net';
import { ProtocolError } from '../base/errors.ts';
import { decodeMessage, encodeMessage, type Message } from './message.ts';

export interface NameServer {
  readonly address: string;
  /** 53 unless said otherwise. */
  readonly port?: number;
}

export interface ExchangeOptions {
  readonly signal: AbortSignal;
  /** One try over UDP, or the whole of a TCP exchange. Default 3000. */
  readonly timeoutMs?: number;
  /** How often a datagram is sent before giving up. Default 2. */
  readonly attempts?: number;
  /** Skips UDP. */
  readonly tcp?: boolean;
}

/** Sends a query and resolves to its reply; injected wherever tests stand in for the network. */
export type Exchange = (server: NameServer, query: Message, options: ExchangeOptions) => Promise<Message>;

/** No usable answer came: `reason` tells a server that is down from a path this machine does not have. */
export class NoAnswerError extends Error {
  override name = 'NoAnswerError';
  readonly code = 'no-answer';
  readonly reason: 'timeout' | 'refused' | 'unreachable' | 'malformed';
  constructor(reason: NoAnswerError['reason'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

const defaultTimeoutMs = 3000;
const defaultAttempts = 2;

/**
 * @throws NoAnswerError when the server can't be reached or never answers properly
 * @throws the signal's reason when aborted
 */
export const exchange: Exchange = async (server, query, options) => {
  const asked: Message = { ...query, id: randomInt(0x10000) };
  const bytes = encodeMessage(asked);
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  if (options.tcp !== true) {
    for (let attempt = options.attempts ?? defaultAttempts; attempt > 0; attempt--) {
      try {
        const reply = await overUdp(server, bytes, asked, timeoutMs, options.signal);
        if (!reply.truncated) return reply;
        break;
      } catch (error) {
        if (attempt > 1 && error instanceof NoAnswerError && error.reason === 'timeout') continue;
        throw error;
      }
    }
  }
  const reply = await exchangeBytes(server, bytes, { signal: options.signal, timeoutMs });
  return checkReply(decodeReply(reply, server), asked, server);
};

function checkReply(reply: Message, asked: Message, server: NameServer): Message {
  if (!matches(reply, asked)) {
    throw new NoAnswerError('malformed', `${server.address} answered another question than the one asked`);
  }
  return reply;
}

function matches(reply: Message, asked: Message): boolean {
  if (!reply.response || reply.id !== asked.id || reply.opcode !== asked.opcode) return false;
  // A server that could not read the question may leave it out (FORMERR, NOTIMP, REFUSED).
  if (reply.questions.length === 0) return reply.rcode !== 0;
  const [want] = asked.questions;
  const [have] = reply.questions;
  return want?.name === have?.name && want?.type === have?.type && want?.class === have?.class;
}

function decodeReply(bytes: Uint8Array, server: NameServer): Message {
  try {
    return decodeMessage(bytes);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new NoAnswerError('malformed', `${server.address} sent a broken answer: ${error.message}`, {
      cause: error,
    });
  }
}

function overUdp(
  server: NameServer,
  bytes: Uint8Array,
  asked: Message,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Message> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Message>();
  const socket = createSocket(isIPv6(server.address) ? 'udp6' : 'udp4');
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(() => reject(timeoutError(server)), timeoutMs);
  socket.on('error', (error) => reject(socketError(server, error)));
  socket.on('message', (datagram) => {
    // Anything that is not the reply is somebody else's, or a forgery: keep listening.
    try {
      const reply = decodeMessage(datagram);
      if (matches(reply, asked)) resolve(reply);
    } catch (error) {
      if (!(error instanceof ProtocolError)) reject(error);
    }
  });
  // A connected socket takes datagrams from this server only, and learns of a closed port at once.
  socket.connect(server.port ?? 53, server.address, (failure?: Error) => {
    // Node hands a failure to this callback, not to the error event, and its types do not say so.
    if (failure !== undefined && failure !== null) {
      reject(socketError(server, failure));
      return;
    }
    socket.send(bytes, (error) => {
      if (error) reject(socketError(server, error));
    });
  });
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    socket.close();
  });
}

/**
 * One message there and one back over TCP, as bytes: signed updates need them whole.
 * @throws NoAnswerError
 */
export function exchangeBytes(
  server: NameServer,
  bytes: Uint8Array,
  options: { readonly signal: AbortSignal; readonly timeoutMs?: number },
): Promise<Uint8Array> {
  const { signal, timeoutMs = defaultTimeoutMs } = options;
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  const socket = connect({ host: server.address, port: server.port ?? 53 });
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(() => reject(timeoutError(server)), timeoutMs);
  let received: Buffer = Buffer.alloc(0);
  socket.on('connect', () => {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(bytes.length);
    socket.write(Buffer.concat([length, bytes]));
  });
  // At most 65,537 bytes are ever kept: the length is known as soon as two bytes are there.
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    if (received.length < 2) return;
    const end = 2 + received.readUInt16BE(0);
    if (received.length >= end) resolve(received.subarray(2, end));
  });
  socket.on('error', (error) => reject(socketError(server, error)));
  socket.on('close', () =>
    reject(new NoAnswerError('refused', `${server.address} closed the connection without an answer`)),
  );
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    socket.destroy();
  });
}

function timeoutError(server: NameServer): NoAnswerError {
  return new NoAnswerError('timeout', `${server.address} does not answer`);
}

function socketError(server: NameServer, error: Error): NoAnswerError {
  const code = 'code' in error ? String(error.code) : '';
  const options = { cause: error };
  if (code === 'ECONNREFUSED' || code === 'ECONNRESET') {
    return new NoAnswerError('refused', `${server.address} runs no name server (${code})`, options);
  }
  return new NoAnswerError('unreachable', `${server.address} can't be reached from here (${code})`, options);
}
