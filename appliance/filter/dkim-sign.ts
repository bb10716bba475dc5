/**
 * DKIM signing (RFC 6376), rsa-sha256, relaxed header and simple body, as chatmail relays sign. Fields that
 * readers act on are oversigned, named once more than they occur, so that adding one breaks the signature.
 */
import { createPrivateKey, type KeyObject, sign } from 'node:crypto';
import { promisify } from 'node:util';
import type { Clock } from '../base/clock.ts';
import { ConfigError, messageOf } from '../base/errors.ts';
import { bodyHash, canonicalField, canonicalSignature, selectFields } from './dkim-canonical.ts';
import type { HeaderField, MailEdit } from './message.ts';

const signAsync = promisify(sign);

/** RFC 8301 §3.2: signers use at least 2048 bits; below 1024 nobody verifies. */
const minKeyBits = 1024;

/** Every field is signed but those that change or vanish on the way (RFC 6376 §5.4.1, opendkim's list). */
const unsigned = new Set([
  'return-path',
  'received',
  'comments',
  'keywords',
  'bcc',
  'resent-bcc',
  'dkim-signature',
  'authentication-results',
]);

/** chatmail/relay's list, and the fields that say how to read the body. */
const oversigned = [
  'from',
  'reply-to',
  'subject',
  'date',
  'to',
  'cc',
  'mime-version',
  'content-type',
  'content-transfer-encoding',
  'resent-date',
  'resent-from',
  'resent-sender',
  'resent-to',
  'resent-cc',
  'in-reply-to',
  'references',
  'list-id',
  'list-help',
  'list-unsubscribe',
  'list-subscribe',
  'list-post',
  'list-owner',
  'list-archive',
  'autocrypt',
];

export interface DkimSignerOptions {
  /** PKCS#8 PEM, RSA. */
  readonly key: string;
  readonly selector: string;
  /** d=, the domain of the From addresses signed for. */
  readonly domain: string;
  readonly clock: Pick<Clock, 'wallMs'>;
}

export interface DkimSigner {
  readonly domain: string;
  /** The edit that puts a signature over these header fields and this body above them. */
  sign(headers: readonly HeaderField[], body: Buffer): Promise<MailEdit>;
}

/** @throws ConfigError when the key is not an RSA key of a useful size */
export function createDkimSigner({ key, selector, domain, clock }: DkimSignerOptions): DkimSigner {
  const privateKey = parseKey(key);
  return {
    domain,
    sign: async (headers, body) => {
      const names = signedNames(headers);
      const unsignedValue = [
        ` v=1; a=rsa-sha256; c=relaxed/simple; d=${domain};`,
        `\r\n\ts=${selector}; t=${Math.floor(clock.wallMs() / 1000)};`,
        `\r\n\t${foldNames(names)};`,
        `\r\n\tbh=${bodyHash(body, 'simple')};`,
        `\r\n\tb=`,
      ].join('');
      const input =
        selectFields(headers, names)
          .map((field) => canonicalField(field, 'relaxed'))
          .join('') + canonicalSignature({ name: 'DKIM-Signature', value: unsignedValue }, 'relaxed');
      const signature = await signAsync('sha256', Buffer.from(input, 'latin1'), privateKey);
      const folded = signature.toString('base64').replace(/.{70}(?=.)/g, '$&\r\n\t ');
      return { kind: 'insertHeader', index: 0, name: 'DKIM-Signature', value: unsignedValue + folded };
    },
  };
}

/** h=: each name as often as it occurs, and once more when it is oversigned. */
function signedNames(headers: readonly HeaderField[]): string[] {
  const present = headers.map(({ name }) => name.trim().toLowerCase()).filter((name) => !unsigned.has(name));
  return [...present, ...oversigned];
}

/** `h=a:b:c` in lines of at most 78 characters; white space around the colons means nothing (§3.5). */
function foldNames(names: readonly string[]): string {
  let folded = 'h=';
  let lineLength = 10;
  for (const [index, name] of names.entries()) {
    const item = index === 0 ? name : `:${name}`;
    if (lineLength + item.length > 77) {
      folded += '\r\n\t ';
      lineLength = 9;
    }
    folded += item;
    lineLength += item.length;
  }
  return folded;
}

function parseKey(pem: string): KeyObject {
  const refuse = (why: string, cause?: unknown): ConfigError =>
    new ConfigError(
      'secrets.dkimKey',
      `The DKIM key cannot be used: ${why}`,
      'Give an RSA key of 2048 bits as PKCS#8 PEM, or take the line out and a key is made',
      { cause },
    );
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (error) {
    throw refuse(messageOf(error), error);
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== 'rsa') throw refuse(`it is of type ${key.asymmetricKeyType}, not RSA`);
  if (bits < minKeyBits) throw refuse(`${bits} bits are fewer than ${minKeyBits}`);
  return key;
}
