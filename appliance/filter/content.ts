/**
 * What kinds of content a relay lets through: encrypted messages, and the few unencrypted ones without which
 * nobody could begin to encrypt or learn that mail did not arrive.
 */
import { type HeaderField, type MailMessage, onlyValue } from './message.ts';
import { contentTypeOf, decodeTransfer, type MimePart, splitMultipart } from './mime.ts';
import { isEncryptedArmor } from './openpgp.ts';

/** Bodies of the control parts are a few bytes; more is not decoded. */
const maxControlPartBytes = 1024;

/**
 * Fixed sentences that Thunderbird, Enigmail and Proton put before the first part. They say nothing, and
 * without them their users' encrypted mail would be refused.
 */
const knownPreambles = [
  'This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)',
  'This is an OpenPGP/MIME encrypted message (RFC 2440 and 3156)',
];

type Content = Pick<MailMessage, 'headers' | 'body'>;

/**
 * PGP/MIME (RFC 3156 §4): exactly a version part and an encrypted part, nothing around them.
 * @param outgoing our own users may not name their program in the armor
 */
export function isEncrypted({ headers, body }: Content, { outgoing }: { outgoing: boolean }): boolean {
  const parts = partsOf(headers, body, {
    type: 'multipart/encrypted',
    count: 2,
    preambles: outgoing ? [] : knownPreambles,
  });
  const [version, encrypted] = parts ?? [];
  if (version === undefined || encrypted === undefined) return false;
  if (contentTypeOf(version.headers)?.type !== 'application/pgp-encrypted') return false;
  if (controlText(version) !== 'Version: 1') return false;
  if (contentTypeOf(encrypted.headers)?.type !== 'application/octet-stream') return false;
  const armor = decodeTransfer(encrypted);
  return armor !== null && isEncryptedArmor(trimStart(armor), { allowVersionHeader: !outgoing });
}

const secureJoinSteps = ['vc-request', 'vg-request'];

/** The first message of SecureJoin, sent before any key is known: fixed text, nothing else. */
export function isSecureJoinRequest({ headers, body }: Content): boolean {
  if (!secureJoinSteps.includes(onlyValue(headers, 'Secure-Join') ?? '')) return false;
  const type = contentTypeOf(headers)?.type;
  if (type === undefined || !type.startsWith('multipart/')) return false;
  const [part] = partsOf(headers, body, { type, count: 1 }) ?? [];
  if (part === undefined || contentTypeOf(part.headers)?.type !== 'text/plain') return false;
  const text = controlText(part)?.toLowerCase();
  return secureJoinSteps.some((step) => text === `secure-join: ${step}`);
}

/** An Autocrypt Setup Message (Autocrypt 1.1 §4): a user's key, encrypted, sent to nobody but the user. */
export function isAutocryptSetup({ headers }: Pick<Content, 'headers'>): boolean {
  return (
    onlyValue(headers, 'Subject') === 'Autocrypt Setup Message' &&
    contentTypeOf(headers)?.type === 'multipart/mixed'
  );
}

/** A delivery report (RFC 3464) by a mail system: it cannot be encrypted, and users need to know. */
export function isDeliveryReport({ headers }: Pick<Content, 'headers'>, fromLocalpart: string): boolean {
  return (
    (onlyValue(headers, 'Auto-Submitted') ?? '') !== '' &&
    fromLocalpart.toLowerCase() === 'mailer-daemon' &&
    contentTypeOf(headers)?.type === 'multipart/report'
  );
}

/**
 * Whether the bytes are plain lines: no NUL, and CR and LF only together. Programs disagree on where a line
 * ends otherwise, which is how one message is made to look like two (SMTP smuggling).
 */
export function hasPlainLines({ headers, body }: Content): boolean {
  if (body.includes(0)) return false;
  for (let at = body.indexOf(10); at >= 0; at = body.indexOf(10, at + 1))
    if (body[at - 1] !== 13) return false;
  for (let at = body.indexOf(13); at >= 0; at = body.indexOf(13, at + 1))
    if (body[at + 1] !== 10) return false;
  return headers.every(
    ({ name, value }) =>
      // RFC 5322 §2.2: printable ASCII without the colon; a fold is CRLF and white space.
      /^[!-9;-~]+$/.test(name) && !value.includes('\0') && !/[\r\n]/.test(value.replace(/\r\n[ \t]/g, '')),
  );
}

/** The first of `names` that stands more than once in the header section; null when none does. */
export function repeatedHeader(headers: readonly HeaderField[], names: readonly string[]): string | null {
  const counts = new Map<string, number>();
  for (const { name } of headers) counts.set(name.toLowerCase(), (counts.get(name.toLowerCase()) ?? 0) + 1);
  return names.find((name) => (counts.get(name.toLowerCase()) ?? 0) > 1) ?? null;
}

function partsOf(
  headers: readonly HeaderField[],
  body: Buffer,
  { type, count, preambles = [] }: { type: string; count: number; preambles?: readonly string[] },
): MimePart[] | null {
  const contentType = contentTypeOf(headers);
  const boundary = contentType?.parameters.get('boundary');
  if (contentType?.type !== type || boundary === undefined) return null;
  const parts = splitMultipart(body, boundary, { maxParts: count, preambles });
  return parts?.length === count ? parts : null;
}

function controlText(part: MimePart): string | null {
  if (part.body.length > maxControlPartBytes) return null;
  return decodeTransfer(part)?.toString('latin1').trim() ?? null;
}

/** Blank lines before the armor, as some programs put there. */
function trimStart(bytes: Buffer): Buffer {
  let start = 0;
  while (bytes[start] === 13 && bytes[start + 1] === 10) start += 2;
  return bytes.subarray(start);
}
