/**
 * Asks a relay whether it serves: the SMTP banner on port 25, and an IMAP greeting over TLS that names
 * XCHATMAIL, which comes from Dovecot as we configure it and from no other server.
 */
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, ProtocolError } from '../../appliance/base/errors.ts';

/** RFC 5321 §4.5.3.1.5: 512 octets a reply line; an IMAP greeting with its capabilities is below 1 kB. */
const maxGreetingBytes = 8192;

/** A guest that is booting accepts nothing, or QEMU accepts for it and then hears nothing. */
const attemptTimeoutMs = 10_000;
const retryEveryMs = 500;

export interface RelayGreeting {
  /** The name in the SMTP banner. */
  readonly hostname: string;
}

export interface ReadyOptions {
  readonly host: string;
  readonly ports: { readonly smtp: number; readonly imaps: number };
  /** Told after each attempt why the relay is not ready yet. */
  readonly onWaiting?: (reason: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Tries until both answer.
 * @throws whatever the signal was aborted with
 */
export async function waitUntilReady({
  host,
  ports,
  onWaiting,
  signal,
}: ReadyOptions): Promise<RelayGreeting> {
  for (;;) {
    try {
      const [smtp] = await Promise.all([
        readSmtpBanner({ host, port: ports.smtp, signal }),
        checkImapGreeting({ host, port: ports.imaps, signal }),
      ]);
      return smtp;
    } catch (error) {
      signal.throwIfAborted();
      onWaiting?.(messageOf(error));
    }
    await sleep(retryEveryMs, undefined, { signal });
  }
}

interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly signal: AbortSignal;
}

/**
 * Reads the banner of an SMTP server (RFC 5321 §4.2), and takes leave.
 * @throws ProtocolError when it is no `220`
 */
export async function readSmtpBanner({ host, port, signal }: Endpoint): Promise<RelayGreeting> {
  const line = await firstLine('SMTP', connect({ host, port }), signal, 'QUIT\r\n');
  const hostname = /^220[ -](\S+)/.exec(line)?.[1];
  if (hostname === undefined) throw new ProtocolError(`SMTP greets with ${JSON.stringify(line)}`);
  return { hostname };
}

/**
 * Reads the greeting of an IMAP server over TLS (RFC 9051 §7.1.1). Its certificate is not checked: on the
 * first boot it is self-signed.
 * @throws ProtocolError when it is no `OK` with XCHATMAIL
 */
export async function checkImapGreeting({ host, port, signal }: Endpoint): Promise<void> {
  const socket = connectTls({ host, port, rejectUnauthorized: false });
  const line = await firstLine('IMAP', socket, signal, 'a LOGOUT\r\n');
  if (!/^\* OK\b/.test(line)) throw new ProtocolError(`IMAP greets with ${JSON.stringify(line)}`);
  if (!/\bXCHATMAIL\b/.test(line)) throw new ProtocolError('IMAP greets without XCHATMAIL');
}

async function firstLine(
  name: string,
  socket: Socket,
  signal: AbortSignal,
  farewell: string,
): Promise<string> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(attemptTimeoutMs)]);
  const abort = () => socket.destroy(new Error(`${name} does not answer`));
  deadline.addEventListener('abort', abort, { once: true });
  try {
    let text = '';
    socket.setEncoding('latin1');
    for await (const chunk of socket) {
      text += String(chunk);
      const end = text.indexOf('\n');
      if (end !== -1) {
        socket.write(farewell);
        return text.slice(0, end).trimEnd();
      }
      if (text.length > maxGreetingBytes) throw new ProtocolError(`${name} greets without an end`);
    }
    throw new ProtocolError(`${name} hangs up without a greeting`);
  } catch (error) {
    if (error instanceof ProtocolError) throw error;
    throw new Error(`${name}: ${messageOf(error)}`, { cause: error });
  } finally {
    deadline.removeEventListener('abort', abort);
    socket.destroy();
  }
}
