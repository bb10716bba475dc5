/**
 * Delivery to another relay over HTTPS: `POST https://mx/mxdeliv`, the envelope in headers. Works where port
 * 25 is closed, on either side. The certificate has to be one that a public authority gave for the name of
 * the MX; DANE does not count here, as it speaks of port 25 alone.
 */
import { once } from 'node:events';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import type { LookupFunction } from 'node:net';
import type { Duplex } from 'node:stream';
import { messageOf, systemCode } from '../base/errors.ts';
import { autoSelectFamilyAttemptTimeout } from '../smtp/client.ts';
import { isAccepted, parseReplyText, replyOf, type SmtpReply } from '../smtp/reply.ts';
import type { OutgoingMessage } from './deliver.ts';
import type { Outcome } from './outcome.ts';

export interface HttpsTarget {
  /** Name of the MX, or an address without brackets. */
  readonly host: string;
  readonly needsCertificate: boolean;
  /** Where the name leads; asked for whenever a connection is made. */
  readonly lookup: LookupFunction;
}

export interface HttpsDeliveryOptions {
  /** @default 443 */
  readonly port?: number;
  /** PEM, instead of the authorities the process believes. */
  readonly authorities?: string;
  /** Connections to one host. @default 10 */
  readonly maxPerHost?: number;
  /** Connection and handshake. @default 10,000 */
  readonly connectTimeoutMs?: number;
  /** The rest, besides the time a slow line needs for the bytes. @default 60,000 */
  readonly timeoutMs?: number;
}

export interface HttpsDelivery extends Disposable {
  post(target: HttpsTarget, message: OutgoingMessage, signal: AbortSignal): Promise<Outcome>;
}

/** A line this slow may still send a large message. */
const minBytesPerSecond = 128 * 1024;
/** An SMTP reply; more of an answer is an error page, and not read. */
const maxAnswerBytes = 4096;
/** Connections kept for the next message, all together; each takes some 75 KiB. */
const maxIdleConnections = 64;
const idleTimeoutMs = 60_000;

const delivered = replyOf('250 2.0.0 Delivered over HTTPS');

/** Keeps connections, to a bound of its own. */
class BoundedAgent extends Agent {
  /** Node asks this before it keeps a connection. */
  override keepSocketAlive(socket: Duplex): boolean {
    const idle = Object.values(this.freeSockets).reduce((sum, sockets) => sum + (sockets?.length ?? 0), 0);
    if (idle >= maxIdleConnections) return false;
    // Node's own answer, which its types leave out.
    const answer: unknown = super.keepSocketAlive(socket);
    return answer !== false;
  }
}

export function createHttpsDelivery(options: HttpsDeliveryOptions = {}): HttpsDelivery {
  const { port = 443, authorities, maxPerHost = 10 } = options;
  const agent = new BoundedAgent({
    keepAlive: true,
    maxSockets: maxPerHost,
    maxFreeSockets: maxPerHost,
    timeout: idleTimeoutMs,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout,
    ...(authorities === undefined ? {} : { ca: authorities }),
  });
  const attempt = (target: HttpsTarget, message: OutgoingMessage, signal: AbortSignal) => {
    const outgoing = request({
      method: 'POST',
      host: target.host,
      port,
      path: '/mxdeliv',
      agent,
      lookup: target.lookup,
      rejectUnauthorized: target.needsCertificate,
      signal,
      headers: {
        ...(message.sender === '' ? {} : { 'x-mail-from': message.sender }),
        'x-mail-to': [...message.recipients],
        'content-type': 'message/rfc822',
        'content-length': message.sizeBytes,
      },
    });
    return converse(outgoing, message, options);
  };
  return {
    async post(target, message, signal) {
      // At most as often as there can be kept connections that the server has closed.
      for (let left = maxPerHost + 1; left > 0; left--) {
        const outcome = await attempt(target, message, signal);
        signal.throwIfAborted();
        if (outcome !== 'stale') return outcome;
      }
      return { kind: 'unavailable', reason: 'The server closes its connections' };
    },
    [Symbol.dispose]() {
      agent.destroy();
    },
  };
}

/**
 * `stale`: the server closed a kept connection in the very moment it was used again, which says nothing
 * about the message (RFC 9112 §9.3.1).
 */
async function converse(
  outgoing: ClientRequest,
  message: OutgoingMessage,
  { connectTimeoutMs = 10_000, timeoutMs = 60_000 }: HttpsDeliveryOptions,
): Promise<Outcome | 'stale'> {
  const end = (reason: string) => outgoing.destroy(new Error(reason));
  let timer = setTimeout(() => end(`No connection after ${connectTimeoutMs} ms`), connectTimeoutMs);
  let isConnected = false;
  const connected = () => {
    isConnected = true;
    clearTimeout(timer);
    const allowedMs = timeoutMs + (message.sizeBytes * 1000) / minBytesPerSecond;
    timer = setTimeout(() => end(`No answer after ${Math.round(allowedMs)} ms`), allowedMs);
  };
  outgoing.once('socket', (socket) => {
    if (outgoing.reusedSocket) connected();
    else socket.once('secureConnect', connected);
  });
  // What an agent's idle timeout means for a request at work.
  outgoing.once('timeout', () => end(`Nothing heard for ${idleTimeoutMs} ms`));
  let isSent = false;
  let hasAnswer = false;
  // Also said when there is nobody left to send to.
  outgoing.once('finish', () => {
    isSent = isConnected && outgoing.socket?.destroyed === false;
  });
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  outgoing.once('response', resolve);
  outgoing.on('error', reject);
  // Node ends a connection that is switched to another protocol (101) without a word of error.
  outgoing.once('close', () => reject(new Error('The connection was closed without an answer')));
  try {
    await Promise.race([promise, write(outgoing, message.body)]);
    const response = await promise;
    hasAnswer = true;
    return judge(response, await readAnswer(response), message.recipients.length);
  } catch (error) {
    const reason = messageOf(error);
    if (outgoing.reusedSocket && !hasAnswer && systemCode(error) === 'ECONNRESET') return 'stale';
    return isSent ? { kind: 'unanswered', reason } : { kind: 'unavailable', reason };
  } finally {
    clearTimeout(timer);
    // The verdict came early; what is left of the message goes nowhere.
    if (!isSent) outgoing.destroy();
  }
}

async function write(outgoing: ClientRequest, body: readonly Buffer[]): Promise<void> {
  for (const chunk of body) {
    // Only so much at a time: what waits in a TLS socket is there a second time.
    if (!outgoing.write(chunk)) await once(outgoing, 'drain');
  }
  outgoing.end();
}

/** The answer's text, or its beginning. The connection is only of use again when it was read to its end. */
async function readAnswer(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    parts.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes > maxAnswerBytes) break;
  }
  return Buffer.concat(parts).toString('latin1', 0, maxAnswerBytes);
}

function judge({ statusCode = 0 }: IncomingMessage, text: string, recipients: number): Outcome {
  const reply = parseReplyText(text);
  const all = (one: SmtpReply): Outcome => ({
    kind: 'replied',
    replies: Array.from({ length: recipients }, () => one),
  });
  if (statusCode === 200) return all(reply !== null && isAccepted(reply) ? reply : delivered);
  // A refusal has to say so in SMTP. What a web server in front says is of the way alone: nginx before a
  // chatmail relay takes no more than 1 MiB unless told, and its 413 is no verdict on the mailbox.
  if ((statusCode === 400 || statusCode === 413) && reply !== null && !isAccepted(reply)) return all(reply);
  return { kind: 'unavailable', reason: `HTTP status ${statusCode}` };
}
