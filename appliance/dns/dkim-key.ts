/** The public half of a DKIM key, as its DNS record carries it. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { ConfigError, messageOf } from '../base/errors.ts';
import { dkimEd25519Selector, type DkimPublicKey, dkimSelector } from '../contract/dns-records.ts';

/** RFC 8301 §3.2: signers must not use less than 1024 bits, and should use 2048. */
const minRsaBits = 2048;

/**
 * @param pem a private or public key, RSA or Ed25519
 * @param source where it is from, for the message
 * @throws ConfigError
 */
export function dkimPublicKey(pem: string, source: string): DkimPublicKey {
  const refuse = (why: string, options?: ErrorOptions) =>
    new ConfigError(
      source,
      `${source} is not a key for DKIM: ${why}`,
      'Put the right PEM file there, or remove it to have a new key made',
      options,
    );
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch (error) {
    throw refuse(messageOf(error), { cause: error });
  }
  if (key.asymmetricKeyType === 'rsa') {
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
    if (bits < minRsaBits) throw refuse(`it has only ${bits} bits, and ${minRsaBits} are needed`);
    // RFC 6376 §3.6.1 asks for RSAPublicKey, but what everybody publishes and reads is SubjectPublicKeyInfo.
    const der = key.export({ type: 'spki', format: 'der' });
    return { selector: dkimSelector, algorithm: 'rsa', publicKeyBase64: der.toString('base64') };
  }
  if (key.asymmetricKeyType === 'ed25519') {
    // RFC 8463 §4: the bare 32 bytes.
    const bytes = Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url');
    return { selector: dkimEd25519Selector, algorithm: 'ed25519', publicKeyBase64: bytes.toString('base64') };
  }
  throw refuse(`it is of the kind ${key.asymmetricKeyType ?? 'unknown'}, not RSA or Ed25519`);
}
