/**
 * Was a message signed by the domain of its author? DKIM verification (RFC 6376) through mailauth, which is
 * loaded with the first message that needs it: it costs some 30 MB.
 */
import type { Resolver } from 'node:dns/promises';
import { Readable } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import { encodeHeaders, type HeaderField, type MailMessage, unfold, valuesOf } from './message.ts';

/**
 * Asks for the TXT records of a name, each as its strings. Rejects with a `code` of node:dns: ENOTFOUND and
 * ENODATA mean that there is no record, everything else that nobody knows.
 */
export type TxtResolver = (name: string) => Promise<readonly (readonly string[])[]>;

/** A resolver on top of node:dns, whose servers, timeout and tries the caller has set. */
export function txtResolver(resolver: Pick<Resolver, 'resolveTxt'>): TxtResolver {
  return (name) => resolver.resolveTxt(name);
}

export type DkimResult =
  /** At least one valid signature of the domain. */
  | 'pass'
  /** There is no signature at all. */
  | 'unsigned'
  | 'fail'
  /** A key could not be looked up now; the same message may pass later. */
  | 'temperror';

export interface DkimVerifierOptions {
  readonly resolveTxt: TxtResolver;
  readonly clock: Pick<Clock, 'wallMs'>;
  /** For all lookups of a message together. @default 20,000 */
  readonly lookupTimeoutMs?: number;
}

export interface DkimVerifier {
  /** @param domain what d= must be, exactly, in any case */
  verify(
    message: Pick<MailMessage, 'headers' | 'body'>,
    domain: string,
    options: { readonly signal: AbortSignal },
  ): Promise<DkimResult>;
}

/** Signatures of the author's domain that are tried: real senders use one or two (RSA and Ed25519). */
const maxSignatures = 4;
/** Pieces in which the body is handed over, so that hashing 30 MB does not hold everything else back. */
const pieceBytes = 64 * 1024;

/** What mailauth forgives and RFC 6376 §6.1.1 does not, wherever it would weaken what a signature says. */
const unforgiven = new Set([
  'identity-domain',
  'missing-v',
  'missing-h',
  'missing-bh',
  'missing-b',
  'invalid-v',
]);

export function createDkimVerifier({
  resolveTxt,
  clock,
  lookupTimeoutMs = 20_000,
}: DkimVerifierOptions): DkimVerifier {
  return {
    verify: async ({ headers, body }, domain, { signal }) => {
      if (valuesOf(headers, 'DKIM-Signature').length === 0) return 'unsigned';
      const considered = withoutOtherSignatures(headers, domain.toLowerCase());
      if (considered === null) return 'fail';
      const { dkimVerify } = await import('mailauth/lib/dkim/verify.js');
      using lookups = boundedLookups(resolveTxt, { timeoutMs: lookupTimeoutMs, signal });
      const { results } = await dkimVerify(Readable.from(pieces(considered, body)), {
        resolver: lookups.resolve,
        minBitLength: 1024,
        rejectRsaSha1: true,
        curTime: new Date(clock.wallMs()),
        // Given, it keeps the library from looking for a Return-Path field.
        sender: `postmaster@${domain}`,
      });
      let temporary = false;
      for (const { signingDomain, status, canonBodyLengthLimited } of results) {
        if (signingDomain?.toLowerCase() !== domain.toLowerCase()) continue;
        const forgiven = !(status.warnings ?? []).some((warning) => unforgiven.has(warning));
        // l= signs only a part of the body, and anybody could add the rest (RFC 6376 §8.2).
        if (status.result === 'pass' && forgiven && canonBodyLengthLimited !== true) return 'pass';
        temporary ||= status.result === 'temperror';
      }
      return temporary ? 'temperror' : 'fail';
    },
  };
}

/**
 * The header fields without the signatures that do not count: those of other domains, ARC's, and any beyond
 * `maxSignatures`. Each would cost a DNS lookup and a hash over the body, and it is the sender who chooses
 * how many. Null when no signature is left.
 */
function withoutOtherSignatures(headers: readonly HeaderField[], domain: string): HeaderField[] | null {
  let kept = 0;
  const considered = headers.filter(({ name, value }) => {
    const lower = name.toLowerCase();
    if (lower.startsWith('arc-')) return false;
    return lower !== 'dkim-signature' || (signingDomain(value) === domain && ++kept <= maxSignatures);
  });
  return kept === 0 ? null : considered;
}

/** d= of a DKIM-Signature value, lower case; null when there is none. */
function signingDomain(value: string): string | null {
  for (const tag of unfold(value).split(';')) {
    const match = /^[ \t]*d[ \t]*=(.*)$/s.exec(tag);
    if (match !== null) return (match[1] ?? '').replace(/[ \t]+/g, '').toLowerCase();
  }
  return null;
}

function* pieces(headers: readonly HeaderField[], body: Buffer): Generator<Buffer> {
  yield encodeHeaders(headers);
  for (let at = 0; at < body.length; at += pieceBytes) yield body.subarray(at, at + pieceBytes);
}

/** Lookups that all end when the time is up or the caller has lost interest. */
function boundedLookups(
  resolveTxt: TxtResolver,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): { resolve: (name: string) => Promise<string[][]> } & Disposable {
  const stop = new AbortController();
  const stopped = Promise.withResolvers<never>();
  stopped.promise.catch(() => {});
  const end = (why: string) => () => {
    stopped.reject(Object.assign(new Error(`The DKIM key lookup ${why}`), { code: 'ETIMEOUT' }));
    stop.abort();
  };
  const timer = setTimeout(end('took too long'), timeoutMs);
  signal.addEventListener('abort', end('was given up'), { once: true, signal: stop.signal });
  if (signal.aborted) end('was given up')();
  return {
    resolve: async (name) => {
      const records = await Promise.race([resolveTxt(name), stopped.promise]);
      // Some zones answer every name with an SPF record too: the key is the record that has one.
      const key = records.find((strings) => /(?:^|;)\s*p\s*=/.test(strings.join(''))) ?? records[0];
      return key === undefined ? [] : [[...key]];
    },
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      stop.abort();
    },
  };
}
