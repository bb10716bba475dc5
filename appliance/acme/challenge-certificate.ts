/**
 * The certificate that answers a tls-alpn-01 challenge (RFC 8737 §3): self-signed, for the one identifier,
 * with the digest of the key authorization in a critical extension. Nobody but the authority looks at it.
 */
import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { isIP, isIPv4 } from 'node:net';
import { addressBytes } from '../base/client-address.ts';
import { contextTag, encodeElement, encodeObjectIdentifier, tags } from './der.ts';

const objectIdentifiers = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  subjectAltName: '2.5.29.17',
  /** id-pe-acmeIdentifier (RFC 8737 §6.1). */
  acmeIdentifier: '1.3.6.1.5.5.7.1.31',
};

const sequence = (...parts: readonly Uint8Array[]) => encodeElement(tags.sequence, ...parts);
const ascii = (text: string) => Buffer.from(text, 'ascii');

/** The acmeIdentifier extension: critical, the SHA-256 of the key authorization as an OCTET STRING. */
export function acmeIdentifierExtension(keyAuthorization: string): Uint8Array {
  const digest = createHash('sha256').update(keyAuthorization).digest();
  return sequence(
    encodeObjectIdentifier(objectIdentifiers.acmeIdentifier),
    encodeElement(tags.boolean, Uint8Array.of(0xff)),
    encodeElement(tags.octetString, encodeElement(tags.octetString, digest)),
  );
}

/** GeneralName: 2 is a DNS name, 7 an IP address (RFC 5280 §4.2.1.6; RFC 8738 §6 for addresses). */
function subjectAltNameExtension(identifier: string): Uint8Array {
  const name =
    isIP(identifier) === 0
      ? encodeElement(contextTag(2, false), ascii(identifier))
      : encodeElement(contextTag(7, false), addressBytes(identifier));
  return sequence(
    encodeObjectIdentifier(objectIdentifiers.subjectAltName),
    encodeElement(tags.octetString, sequence(name)),
  );
}

/** RFC 5280 §4.1.2.5.2: YYYYMMDDHHMMSSZ. */
function generalizedTime(ms: number): Uint8Array {
  const text = new Date(ms)
    .toISOString()
    .replace(/\.\d+Z$|[-:T]/g, (match) => (match.startsWith('.') ? 'Z' : ''));
  return encodeElement(tags.generalizedTime, ascii(text));
}

export interface ChallengeCertificate {
  readonly keyPem: string;
  readonly certificatePem: string;
}

/** @param identifier a DNS name or an IP address */
export function makeChallengeCertificate(identifier: string, keyAuthorization: string): ChallengeCertificate {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = sequence(encodeObjectIdentifier(objectIdentifiers.ecdsaWithSha256));
  const subject = sequence(
    encodeElement(
      tags.set,
      sequence(
        encodeObjectIdentifier(objectIdentifiers.commonName),
        encodeElement(tags.utf8String, ascii('ACME challenge')),
      ),
    ),
  );
  const toBeSigned = sequence(
    encodeElement(contextTag(0, true), encodeElement(tags.integer, Uint8Array.of(2))),
    // Positive, and without a leading zero: RFC 5280 §4.1.2.2.
    encodeElement(tags.integer, Uint8Array.of(1), randomBytes(15)),
    algorithm,
    subject,
    // Nobody judges its dates, and the clock of a board may be far off.
    sequence(generalizedTime(Date.UTC(2020, 0, 1)), generalizedTime(Date.UTC(2100, 0, 1))),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    encodeElement(
      contextTag(3, true),
      sequence(subjectAltNameExtension(identifier), acmeIdentifierExtension(keyAuthorization)),
    ),
  );
  const signature = sign('sha256', toBeSigned, privateKey);
  const certificate = sequence(
    toBeSigned,
    algorithm,
    encodeElement(tags.bitString, Uint8Array.of(0), signature),
  );
  const body = Buffer.from(certificate)
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n');
  return {
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    certificatePem: `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`,
  };
}

/**
 * The server name an authority sends in a tls-alpn-01 challenge: the name itself, or for an address the name
 * of its reverse mapping (RFC 8738 §6).
 */
export function challengeServerName(identifier: string): string {
  if (isIP(identifier) === 0) return identifier.toLowerCase();
  const bytes = addressBytes(identifier);
  if (isIPv4(identifier)) return `${[...bytes].toReversed().join('.')}.in-addr.arpa`;
  const nibbles = Array.from(Buffer.from(bytes).toString('hex')).toReversed();
  return `${nibbles.join('.')}.ip6.arpa`;
}
