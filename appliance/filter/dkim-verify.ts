/**
 * Was a message signed by the domain of its author? DKIM verification (RFC 6376 §6). Own code: the library at
 * hand costs 30 MB and takes time in the square of the header's lines, for what is a hash and a lookup.
 */
import { createHash, verify } from 'node:crypto';
import type { Resolver } from 'node:dns/promises';
import { promisify } from 'node:util';
import { systemCode } from '../base/errors.ts';
import type { Clock } from '../base/clock.ts';
import {
  bodyHash,
  type Canonicalization,
  canonicalField,
  canonicalSignature,
  selectFields,
} from './dkim-canonical.ts';
import {
  type DkimKey,
  type DkimSignature,
  parseKeyRecord,
  parseSignature,
  withoutSignatureData,
} from './dkim-tags.ts';
import type { HeaderField, MailMessage } from './message.ts';

const verifyAsync = promisify(verify);

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

export function createDkimVerifier({
  resolveTxt,
  clock,
  lookupTimeoutMs = 20_000,
}: DkimVerifierOptions): DkimVerifier {
  return {
    verify: async ({ headers, body }, domain, { signal }) => {
      const fields = headers.filter((field) => field.name.toLowerCase() === 'dkim-signature');
      if (fields.length === 0) return 'unsigned';
      const nowSec = clock.wallMs() / 1000;
      const hashes = bodyHashes(body);
      using lookups = boundedLookups(resolveTxt, { timeoutMs: lookupTimeoutMs, signal });
      let temporary = false;
      let tried = 0;
      for (const field of fields) {
        const signature = parseSignature(field.value);
        // Another domain's signature says nothing of this author, so it costs neither hash nor lookup.
        if (signature === null || signature.domain !== domain.toLowerCase()) continue;
        if (++tried > maxSignatures) break;
        if (signature.expiresSec !== null && signature.expiresSec < nowSec) continue;
        if (hashes(signature.body) !== signature.bodyHash) continue;
        const key = await lookups.key(signature);
        if (key === 'unknown') temporary = true;
        else if (key !== null && (await matches(headers, field, signature, key))) return 'pass';
      }
      return temporary ? 'temperror' : 'fail';
    },
  };
}

/** §6.1.3: whether the signature is the key's over these header fields. */
async function matches(
  headers: readonly HeaderField[],
  field: HeaderField,
  signature: DkimSignature,
  key: DkimKey,
): Promise<boolean> {
  if (key.algorithm !== signature.algorithm) return false;
  if (key.exactIdentity && !signature.exactIdentity) return false;
  const others = headers.filter((one) => one !== field);
  const text = selectFields(others, signature.fields).map((one) => canonicalField(one, signature.header));
  const own = { name: field.name, value: withoutSignatureData(field.value) };
  const input = Buffer.from(text.join('') + canonicalSignature(own, signature.header), 'latin1');
  // RFC 8463 §3: Ed25519 signs the hash.
  return key.algorithm === 'rsa'
    ? verifyAsync('sha256', input, key.key, signature.signature)
    : verifyAsync(null, createHash('sha256').update(input).digest(), key.key, signature.signature);
}

/** The hash of the body in each canonicalization, computed when first asked for. */
function bodyHashes(body: Buffer): (how: Canonicalization) => string {
  const known = new Map<Canonicalization, string>();
  return (how) => {
    const hash = known.get(how) ?? bodyHash(body, how);
    known.set(how, hash);
    return hash;
  };
}

interface Lookups extends Disposable {
  /** The key of a signature; null when there is none that can be used, 'unknown' when DNS did not say. */
  key(signature: DkimSignature): Promise<DkimKey | null | 'unknown'>;
}

/** Lookups that all end when the time is up or the caller has lost interest. */
function boundedLookups(
  resolveTxt: TxtResolver,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): Lookups {
  const stop = new AbortController();
  const stopped = Promise.withResolvers<null>();
  const end = () => stopped.resolve(null);
  const timer = setTimeout(end, timeoutMs);
  signal.addEventListener('abort', end, { once: true, signal: stop.signal });
  if (signal.aborted) end();
  return {
    key: async ({ selector, domain }) => {
      try {
        const records = await Promise.race([stopped.promise, resolveTxt(`${selector}._domainkey.${domain}`)]);
        if (records === null) return 'unknown';
        // Some zones answer every name with another text too: the key is the record that has one.
        const texts = records.map((strings) => strings.join(''));
        const text = texts.find((one) => /(?:^|;)\s*p\s*=/.test(one));
        return text === undefined ? null : parseKeyRecord(text);
      } catch (error) {
        const code = systemCode(error);
        return code === 'ENOTFOUND' || code === 'ENODATA' ? null : 'unknown';
      }
    },
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      stop.abort();
    },
  };
}
