/** ACME Renewal Information (RFC 9773): when the authority would like a certificate to be renewed. */
import type { X509Certificate } from 'node:crypto';
import * as v from 'valibot';
import { ProtocolError } from '../base/errors.ts';
import { contextTag, decodeElements, type Element, encodeObjectIdentifier, tags } from './der.ts';
import { requestHttps, retryAfterMs } from './https.ts';

export interface RenewalWindow {
  readonly startMs: number;
  readonly endMs: number;
  /** A page that says why, when the authority has something to say. */
  readonly explanationUrl?: string;
}

export interface RenewalInfo extends RenewalWindow {
  /** Ask again then. */
  readonly checkAfterMs: number;
}

const authorityKeyIdentifier = encodeObjectIdentifier('2.5.29.35');
/** RFC 9773 §4.3.2: the authority may ask for other pauses, within reason. */
export const defaultCheckMs = 6 * 3_600_000;
const minCheckMs = 60_000;
const maxCheckMs = 24 * 3_600_000;

/**
 * The certificate's unique identifier (RFC 9773 §4.1): its authority key identifier and serial number, both
 * in base64url. Undefined when it has no authority key identifier.
 */
export function renewalIdOf(certificate: X509Certificate): string | undefined {
  const [outer] = decodeElements(certificate.raw);
  const [toBeSigned] = children(outer);
  const fields = children(toBeSigned);
  // The version is an explicit [0] before the serial number, absent only in version 1.
  const serial = fields.find(({ tag }) => tag === tags.integer);
  const extensions = children(children(fields.find(({ tag }) => tag === contextTag(3, true)))[0]);
  for (const extension of extensions) {
    const parts = children(extension);
    const id = parts[0];
    const value = parts.at(-1);
    if (id === undefined || value === undefined || id.tag !== tags.objectIdentifier) continue;
    if (Buffer.compare(id.content, authorityKeyIdentifier.subarray(2)) !== 0) continue;
    const keyId = children(decodeElements(value.content)[0]).find(({ tag }) => tag === contextTag(0, false));
    if (keyId === undefined || serial === undefined) return undefined;
    const base64url = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
    return `${base64url(keyId.content)}.${base64url(serial.content)}`;
  }
  return undefined;
}

function children(element: Element | undefined): Element[] {
  return element === undefined ? [] : decodeElements(element.content);
}

const timestamp = v.pipe(
  v.string(),
  // RFC 3339, with a zone.
  v.regex(/^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/),
  v.transform((text) => Date.parse(text)),
  v.finite(),
);
const renewalInfoSchema = v.object({
  suggestedWindow: v.object({ start: timestamp, end: timestamp }),
  explanationURL: v.optional(v.unknown()),
});

/**
 * Reads the body of a renewalInfo answer.
 * @throws ProtocolError when it is none; the caller then goes by the certificate's lifetime
 */
export function parseRenewalInfo(text: string): RenewalWindow {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw new ProtocolError('The renewal information is not JSON', { cause });
  }
  const result = v.safeParse(renewalInfoSchema, document);
  if (!result.success) {
    throw new ProtocolError(`The renewal information is not as RFC 9773 has it: ${result.issues[0].message}`);
  }
  const { start, end } = result.output.suggestedWindow;
  // RFC 9773 §4.2: a window that ends before it begins is to be treated as none.
  if (end <= start) throw new ProtocolError('The renewal window ends before it begins');
  const url = result.output.explanationURL;
  return {
    startMs: start,
    endMs: end,
    ...(typeof url === 'string' && /^https:\/\/[\x21-\x7e]{1,500}$/.test(url) ? { explanationUrl: url } : {}),
  };
}

const directorySchema = v.object({ renewalInfo: v.optional(v.string()) });

/**
 * Asks the authority about a certificate. Undefined when it offers no such information.
 * @throws UnreachableError, ProtocolError
 */
export async function fetchRenewalInfo(
  directoryUrl: string,
  renewalId: string,
  { nowMs, signal }: { readonly nowMs: number; readonly signal: AbortSignal },
): Promise<RenewalInfo | undefined> {
  const directory = await requestHttps({ url: directoryUrl, method: 'GET', signal });
  const base = v.parse(directorySchema, parseJson(directory.body)).renewalInfo;
  if (base === undefined) return undefined;
  const reply = await requestHttps({ url: `${base.replace(/\/$/, '')}/${renewalId}`, method: 'GET', signal });
  if (reply.status !== 200) {
    throw new ProtocolError(`The renewal information came with status ${reply.status}`);
  }
  const asked = retryAfterMs(reply.headers['retry-after'], nowMs) ?? nowMs + defaultCheckMs;
  const checkAfterMs = Math.min(Math.max(asked, nowMs + minCheckMs), nowMs + maxCheckMs);
  return { ...parseRenewalInfo(reply.body), checkAfterMs };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ProtocolError('The directory is not JSON', { cause });
  }
}
