/**
 * DKIM signing (RFC 6376), rsa-sha256, relaxed header and simple body, as chatmail relays sign; ed25519-sha256
 * (RFC 8463) beside it where there is such a key. Fields that readers act on are oversigned, named once more
 * than they occur, so that adding one breaks the signature.
 */
import { createHash, createPrivateKey, type KeyObject, sign } from 'node:crypto';
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
  /** PKCS#8 PEM, Ed25519: signs too, for verifiers that know it; the others pass over it. */
  readonly ed25519?: { readonly key: string; readonly selector: string } | undefined;
  /** d=, the domain of the From addresses signed for. */
  readonly domain: string;
  readonly clock: Pick<Clock, 'wallMs'>;
}

export interface DkimSigner {
  readonly domain: string;
  /** The edits that put signatures over these header fields and this body above them, one for each key. */
  sign(headers: readonly HeaderField[], body: Buffer): Promise<readonly MailEdit[]>;
}

interface SigningKey {
  readonly algorithm: 'rsa-sha256' | 'ed25519-sha256';
  readonly selector: string;
  readonly key: KeyObject;
}

/** @throws ConfigError when a key is not of its kind, or not of a useful size */
export function createDkimSigner(options: DkimSignerOptions): DkimSigner {
  const { domain, clock, ed25519 } = options;
  const keys: SigningKey[] = [
    { algorithm: 'rsa-sha256', selector: options.selector, key: parseRsaKey(options.key) },
  ];
  if (ed25519 !== undefined) {
    const key = parseEd25519Key(ed25519.key);
    keys.push({ algorithm: 'ed25519-sha256', selector: ed25519.selector, key });
  }
  return {
    domain,
    sign: async (headers, body) => {
      // All but a=, s= and b= is the same for each key: the body is read once.
      const names = signedNames(headers);
      const fields = selectFields(headers, names)
        .map((field) => canonicalField(field, 'relaxed'))
        .join('');
      const hash = bodyHash(body, 'simple');
      const time = Math.floor(clock.wallMs() / 1000);
      return Promise.all(
        keys.map(async (key): Promise<MailEdit> => {
          const unsignedValue = [
            ` v=1; a=${key.algorithm}; c=relaxed/simple; d=${domain};`,
            `\r\n\ts=${key.selector}; t=${time};`,
            `\r\n\t${foldNames(names)};`,
            `\r\n\tbh=${hash};`,
            `\r\n\tb=`,
          ].join('');
          const field = canonicalSignature({ name: 'DKIM-Signature', value: unsignedValue }, 'relaxed');
          const signature = await signWith(key, Buffer.from(fields + field, 'latin1'));
          const folded = signature.toString('base64').replace(/.{70}(?=.)/g, '$&\r\n\t ');
          return { kind: 'insertHeader', index: 0, name: 'DKIM-Signature', value: unsignedValue + folded };
        }),
      );
    },
  };
}

function signWith({ algorithm, key }: SigningKey, input: Buffer): Promise<Buffer> {
  if (algorithm === 'rsa-sha256') return signAsync('sha256', input, key);
  // RFC 8463 §3: the SHA-256 hash is what PureEdDSA signs.
  return signAsync(null, createHash('sha256').update(input).digest(), key);
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

function parseRsaKey(pem: string): KeyObject {
  const refuse = (why: string, cause?: unknown): ConfigError =>
    new ConfigError(
      'secrets.dkimKey',
      `The DKIM key cannot be used: ${why}`,
      'Give an RSA key of 2048 bits as PKCS#8 PEM, or take the line out and a key is made',
      { cause },
    );
  const key = parseKey(pem, refuse);
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key.asymmetricKeyType !== 'rsa') throw refuse(`it is of type ${key.asymmetricKeyType}, not RSA`);
  if (bits < minKeyBits) throw refuse(`${bits} bits are fewer than ${minKeyBits}`);
  return key;
}

function parseEd25519Key(pem: string): KeyObject {
  const refuse = (why: string, cause?: unknown): ConfigError =>
    new ConfigError(
      'secrets.dkimEd25519Key',
      `The second DKIM key cannot be used: ${why}`,
      'Give an Ed25519 key as PKCS#8 PEM',
      { cause },
    );
  const key = parseKey(pem, refuse);
  if (key.asymmetricKeyType !== 'ed25519') {
    throw refuse(`it is of type ${key.asymmetricKeyType}, not Ed25519`);
  }
  return key;
}

function parseKey(pem: string, refuse: (why: string, cause: unknown) => ConfigError): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw refuse(messageOf(error), error);
  }
}
