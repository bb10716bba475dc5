/**
 * Delivery over SMTP on port 25, for servers that are no chatmail relay. TLS always, and to the right server:
 * a certificate that an authority gave for the name of the MX, or the one that its TLSA records name.
 */
import type { LookupFunction } from 'node:net';
import type { PeerCertificate, TLSSocket } from 'node:tls';
import { X509Certificate } from 'node:crypto';
import { messageOf, systemCode } from '../base/errors.ts';
import { SmtpConnection, SmtpSessionError } from '../smtp/client.ts';
import { judgeDane, type TlsaRecord } from './dane.ts';
import type { OutgoingMessage } from './deliver.ts';
import type { Outcome } from './outcome.ts';

/** Why a session had no TLS to rely on, in the words of RFC 8460 §4.3. */
export type TlsFailure =
  | 'starttls-not-supported'
  | 'certificate-host-mismatch'
  | 'certificate-expired'
  | 'certificate-not-trusted'
  | 'validation-failure'
  | 'tlsa-invalid'
  | 'dnssec-invalid'
  | 'dane-required';

export interface SmtpTarget {
  readonly host: string;
  readonly lookup: LookupFunction;
  /** False: encrypted, whoever it is. */
  readonly needsCertificate: boolean;
  /** Instead of what authorities say; undefined where the host has none. */
  readonly dane?: { readonly records: readonly TlsaRecord[]; readonly names: readonly string[] };
  /** SNI; the TLSA base domain where there is one (RFC 7672 §8.1). Undefined for an address. */
  readonly serverName: string | undefined;
}

export interface SmtpDeliveryOptions {
  /** What EHLO says: our own name or literal. */
  readonly localName: string;
  /** @default 25 */
  readonly port?: number;
  /** PEM, instead of the authorities the process believes. */
  readonly authorities?: string;
  /** @default 60,000 */
  readonly timeoutMs?: number;
  readonly wallMs: () => number;
}

export interface SmtpAttempt {
  readonly outcome: Outcome;
  /** Undefined where the session did not come to the question. */
  readonly tls?: {
    readonly result: TlsFailure | 'success';
    readonly sendingIp: string;
    readonly receivingIp: string;
  };
}

export async function deliverOverSmtp(
  target: SmtpTarget,
  message: OutgoingMessage,
  options: SmtpDeliveryOptions,
  signal: AbortSignal,
): Promise<SmtpAttempt> {
  const { port = 25, localName, timeoutMs = 60_000 } = options;
  let tls: SmtpAttempt['tls'];
  try {
    using connection = await SmtpConnection.connect({
      host: target.host,
      port,
      lookup: target.lookup,
      localName,
      signal,
      timeoutMs,
    });
    const { localAddress: sendingIp = '', remoteAddress: receivingIp = '' } = connection.socket;
    const seen = (result: TlsFailure | 'success') => ({ result, sendingIp, receivingIp });
    if (!connection.extensions.has('STARTTLS')) {
      connection.quit();
      return { outcome: unavailable('The server offers no STARTTLS'), tls: seen('starttls-not-supported') };
    }
    try {
      await secure(connection, target, options);
      tls = seen('success');
    } catch (error) {
      signal.throwIfAborted();
      return { outcome: unavailable(messageOf(error)), tls: seen(failureOf(error)) };
    }
    const replies = await connection.send({
      sender: message.sender,
      recipients: message.recipients,
      sizeBytes: message.sizeBytes,
      body: () => message.body,
    });
    connection.quit();
    return { outcome: { kind: 'replied', replies }, tls };
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof SmtpSessionError)) throw error;
    const kind = error.stage === 'answer' ? 'unanswered' : 'unavailable';
    return { outcome: { kind, reason: error.message }, ...(tls === undefined ? {} : { tls }) };
  }
}

async function secure(
  connection: SmtpConnection,
  { dane, needsCertificate, serverName }: SmtpTarget,
  { authorities, wallMs }: SmtpDeliveryOptions,
): Promise<void> {
  const byAuthority = needsCertificate && dane === undefined;
  await connection.startTls(
    {
      rejectUnauthorized: byAuthority,
      ...(serverName === undefined ? {} : { servername: serverName }),
      ...(authorities === undefined ? {} : { ca: authorities }),
    },
    (socket) => {
      if (dane === undefined) return;
      const refusal = judgeDane(dane.records, { chain: chainOf(socket), names: dane.names, nowMs: wallMs() });
      if (refusal !== null) throw new DaneError(refusal);
    },
  );
}

class DaneError extends Error {}

/** The certificates the server sent, its own first. No chain is longer than ten. */
function chainOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let certificate: PeerCertificate | undefined = socket.getPeerCertificate(true);
  for (let depth = 0; depth < 10 && certificate?.raw !== undefined; depth++) {
    const { raw } = certificate;
    if (chain.some((known) => known.raw.equals(raw))) break;
    chain.push(new X509Certificate(raw));
    certificate =
      'issuerCertificate' in certificate ? (certificate.issuerCertificate as PeerCertificate) : undefined;
  }
  return chain;
}

function unavailable(reason: string): Outcome {
  return { kind: 'unavailable', reason };
}

function failureOf(error: unknown): TlsFailure {
  if (!(error instanceof SmtpSessionError)) return 'validation-failure';
  if (error.reply !== undefined) return 'starttls-not-supported';
  const { cause } = error;
  if (cause instanceof DaneError) return 'validation-failure';
  switch (systemCode(cause)) {
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return 'certificate-host-mismatch';
    case 'CERT_HAS_EXPIRED':
    case 'CERT_NOT_YET_VALID':
      return 'certificate-expired';
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'CERT_UNTRUSTED':
    case 'CERT_SIGNATURE_FAILURE':
      return 'certificate-not-trusted';
    default:
      return 'validation-failure';
  }
}
