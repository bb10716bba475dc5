/**
 * The two texts of DKIM: the signature in a header field and the key in DNS (RFC 6376 §3.2, §3.5, §3.6.1, and
 * RFC 8301, RFC 8463). What a verifier must or should not accept is null here. Pure.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import type { Canonicalization } from './dkim-canonical.ts';
import { unfold } from './message.ts';

export type SigningAlgorithm = 'rsa' | 'ed25519';

export interface DkimSignature {
  readonly algorithm: SigningAlgorithm;
  readonly header: Canonicalization;
  readonly body: Canonicalization;
  /** d=, lower case. */
  readonly domain: string;
  readonly selector: string;
  /** h=, lower case, in order. */
  readonly fields: readonly string[];
  readonly bodyHash: string;
  readonly signature: Buffer;
  /** x=, seconds since 1970; null when it does not expire. */
  readonly expiresSec: number | null;
  /** Whether i= is of d= itself, which a key may demand, and not of a subdomain. */
  readonly exactIdentity: boolean;
}

export interface DkimKey {
  readonly algorithm: SigningAlgorithm;
  readonly key: KeyObject;
  /** t=s: only signatures whose i= is of d= itself. */
  readonly exactIdentity: boolean;
}

/** RFC 8301 §3.2; and no key so large that verifying becomes a burden its owner may put on us. */
const minRsaBits = 1024;
const maxRsaBits = 8192;
/** A key of `maxRsaBits` with tags around it. */
const maxRecordLength = 4096;

const canonicalizations: ReadonlyMap<string, Canonicalization> = new Map([
  ['simple', 'simple'],
  ['relaxed', 'relaxed'],
]);

/**
 * Reads the value of a DKIM-Signature field.
 * @returns null when it must be ignored: broken syntax, SHA-1, From not signed, or l=, which leaves the end
 *   of the body to anybody
 */
export function parseSignature(value: string): DkimSignature | null {
  const tags = parseTags(unfold(value), { strict: true });
  if (tags === null || tags.get('v') !== '1' || tags.has('l')) return null;
  const algorithm = { 'rsa-sha256': 'rsa', 'ed25519-sha256': 'ed25519' } as const;
  const named = tags.get('a')?.toLowerCase();
  if (named !== 'rsa-sha256' && named !== 'ed25519-sha256') return null;
  const [header = '', body = 'simple', ...rest] = (tags.get('c') ?? 'simple').toLowerCase().split('/');
  const [headerHow, bodyHow] = [canonicalizations.get(header), canonicalizations.get(body)];
  if (headerHow === undefined || bodyHow === undefined || rest.length > 0) return null;
  const domain = tags.get('d')?.toLowerCase() ?? '';
  const selector = tags.get('s') ?? '';
  if (!isDnsName(domain) || !isDnsName(selector)) return null;
  const fields = (tags.get('h') ?? '').split(':').map((name) => name.trim().toLowerCase());
  if (!fields.includes('from') || fields.includes('')) return null;
  const identity = tags.get('i') ?? `@${domain}`;
  const identityDomain = identity.slice(identity.lastIndexOf('@') + 1).toLowerCase();
  if (identityDomain !== domain && !identityDomain.endsWith(`.${domain}`)) return null;
  const methods = (tags.get('q') ?? 'dns/txt').split(':').map((method) => method.trim().toLowerCase());
  if (!methods.includes('dns/txt')) return null;
  const [signedSec, expiresSec] = [seconds(tags.get('t')), seconds(tags.get('x'))];
  if (signedSec === null || expiresSec === null || (signedSec ?? 0) > (expiresSec ?? Infinity)) return null;
  const [signature, bodyHash] = [base64(tags.get('b')), base64(tags.get('bh'))];
  if (signature === null || bodyHash === null) return null;
  return {
    algorithm: algorithm[named],
    header: headerHow,
    body: bodyHow,
    domain,
    selector,
    fields,
    bodyHash: bodyHash.toString('base64'),
    signature,
    expiresSec: expiresSec ?? null,
    exactIdentity: identityDomain === domain,
  };
}

/** The value with an empty b=, surrounding white space included, all else untouched (§3.5 b=, §3.7). */
export function withoutSignatureData(value: string): string {
  return value.replace(/((?:^|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*/, '$1');
}

/** Reads a key record (§3.6.1); null when it is none, revoked, or not for signing mail with SHA-256. */
export function parseKeyRecord(text: string): DkimKey | null {
  if (text.length > maxRecordLength) return null;
  const tags = parseTags(text, { strict: false });
  if (tags === null || (tags.get('v') ?? 'DKIM1') !== 'DKIM1') return null;
  const list = (name: string) =>
    tags
      .get(name)
      ?.split(':')
      .map((item) => item.trim().toLowerCase());
  if (list('h')?.includes('sha256') === false) return null;
  const services = list('s') ?? ['*'];
  if (!services.includes('*') && !services.includes('email')) return null;
  const algorithm = (tags.get('k') ?? 'rsa').toLowerCase();
  const bytes = base64(tags.get('p'));
  if (bytes === null || bytes.length === 0 || (algorithm !== 'rsa' && algorithm !== 'ed25519')) return null;
  const key = algorithm === 'rsa' ? rsaKey(bytes) : ed25519Key(bytes);
  return key === null ? null : { algorithm, key, exactIdentity: list('t')?.includes('s') ?? false };
}

/**
 * `name=value; name=value` (§3.2); null when a name comes twice. `strict` also refuses what is no tag at all,
 * which key records typed by hand sometimes hold.
 */
function parseTags(text: string, { strict }: { strict: boolean }): Map<string, string> | null {
  const tags = new Map<string, string>();
  const parts = text.split(';');
  // One semicolon at the end is part of the grammar.
  if (/^[ \t\r\n]*$/.test(parts.at(-1) ?? '')) parts.pop();
  for (const part of parts) {
    const match = /^[ \t\r\n]*([A-Za-z][A-Za-z0-9_]*)[ \t\r\n]*=(.*)$/s.exec(part);
    if (match === null) {
      if (strict) return null;
      continue;
    }
    const name = match[1] ?? '';
    if (tags.has(name)) return null;
    tags.set(name, (match[2] ?? '').trim());
  }
  return tags;
}

/** undefined when the tag is absent, null when it is not 1 to 12 digits (§3.5 t=, x=). */
function seconds(value: string | undefined): number | null | undefined {
  if (value === undefined) return undefined;
  return /^\d{1,12}$/.test(value) ? Number(value) : null;
}

/** Base64 with white space anywhere (§3.5 b=, bh=; §3.6.1 p=); null when absent or anything else. */
function base64(value: string | undefined): Buffer | null {
  const text = value?.replace(/[ \t\r\n]+/g, '');
  return text === undefined || !/^[A-Za-z0-9+/]*={0,2}$/.test(text) ? null : Buffer.from(text, 'base64');
}

/** Labels of letters, digits, hyphens and underscores, as a name in DNS can have. */
function isDnsName(text: string): boolean {
  return text.length <= 253 && /^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*$/.test(text);
}

/** SubjectPublicKeyInfo, as everybody publishes, or the bare RSAPublicKey of §3.6.1. */
function rsaKey(bytes: Buffer): KeyObject | null {
  for (const type of ['spki', 'pkcs1'] as const) {
    try {
      const key = createPublicKey({ key: bytes, format: 'der', type });
      const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
      return key.asymmetricKeyType === 'rsa' && bits >= minRsaBits && bits <= maxRsaBits ? key : null;
    } catch {
      // Not of this type.
    }
  }
  return null;
}

/** RFC 8463 §4: the 32 bytes alone. */
function ed25519Key(bytes: Buffer): KeyObject | null {
  if (bytes.length !== 32) return null;
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: bytes.toString('base64url') };
  try {
    return createPublicKey({ key: jwk, format: 'jwk' });
  } catch {
    return null;
  }
}
