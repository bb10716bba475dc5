/** The self-signed certificate of the first second, and of relays that nobody vouches for. */
import {
  constants,
  createPrivateKey,
  generateKeyPair,
  privateEncrypt,
  randomBytes,
  X509Certificate,
} from 'node:crypto';
import { promisify } from 'node:util';
import { certificateBlocks } from '../base/pem.ts';
import { certificateNames } from '../contract/certificate.ts';
import type { Config } from '../contract/config.ts';
import { type Domain, plainDomain } from '../contract/domain.ts';

/** No clock that is right is earlier, and a board that believes it is 2024 must not find it in the future. */
const notBefore = new Date(Date.UTC(2024, 0, 1));
const lifetimeYears = 10;
/** What stands before a SHA-256 digest in an RSASSA-PKCS1-v1_5 signature: RFC 8017 §9.2, note 1. */
const sha256DigestInfo = Buffer.from('3031300d060960864801650304020105000420', 'hex');

export interface KeyAndCertificate {
  readonly keyPem: string;
  readonly certificatePem: string;
}

/** True when the pair belongs together, covers the domain, and is not about to end. */
export function isUsableCertificate(
  { keyPem, certificatePem }: KeyAndCertificate,
  domain: Domain,
  nowMs: number,
): boolean {
  try {
    const certificate = new X509Certificate(certificatePem);
    if (!certificate.checkPrivateKey(createPrivateKey(keyPem))) return false;
    const covers =
      domain.kind === 'ip'
        ? certificate.checkIP(domain.address) !== undefined
        : (certificate.subjectAltName ?? '').split(', ').includes(`DNS:${domain.name}`);
    // One from an authority is renewed by the ACME client; here only that it is for us.
    const isOwn = certificate.issuer === certificate.subject;
    return covers && (!isOwn || Date.parse(certificate.validTo) > nowMs);
  } catch {
    return false;
  }
}

/** True for a certificate that nobody but its owner has signed, and for what is no certificate. */
export function isOwnCertificate(certificatePem: string): boolean {
  try {
    const certificate = new X509Certificate(certificatePem);
    return certificate.issuer === certificate.subject;
  } catch {
    return true;
  }
}

/**
 * True for a certificate that everybody's clients believe: neither the relay's own, nor one by an authority
 * that only this configuration knows. Delta Chat carries its own list of authorities.
 * @param certificatePem the chain, the relay's own certificate first
 */
export function isVouchedFor(certificatePem: string, { tls }: Pick<Config, 'tls'>): boolean {
  if (isOwnCertificate(certificatePem)) return false;
  const chain = certificatesIn(certificatePem);
  return !tls.authorities
    .flatMap(certificatesIn)
    .some((authority) =>
      chain.some(
        (certificate) => certificate.checkIssued(authority) && certificate.verify(authority.publicKey),
      ),
    );
}

function certificatesIn(pem: string): X509Certificate[] {
  return certificateBlocks(pem).flatMap((block) => {
    try {
      return [new X509Certificate(block)];
    } catch {
      return [];
    }
  });
}

/** Makes an RSA-2048 key and a certificate for it, valid from 2024 until ten years from `nowMs`. */
export async function makeSelfSigned(domain: Domain, nowMs: number): Promise<KeyAndCertificate> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
  // Loaded only here: it is large, and a certificate is made once in a device's life.
  const { default: forge } = await import('node-forge');
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.publicKeyFromPem(
    publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  );
  // RFC 5280 §4.1.2.2: positive, at most 20 octets.
  certificate.serialNumber = `01${randomBytes(15).toString('hex')}`;
  certificate.validity.notBefore = notBefore;
  const notAfter = new Date(Math.max(nowMs, notBefore.getTime()));
  notAfter.setUTCFullYear(notAfter.getUTCFullYear() + lifetimeYears);
  certificate.validity.notAfter = notAfter;
  // RFC 5280 ub-common-name: 64 characters.
  const subject = [{ name: 'commonName', value: plainDomain(domain).slice(0, 64) }];
  certificate.setSubject(subject);
  certificate.setIssuer(subject);
  certificate.setExtensions([
    { name: 'basicConstraints', cA: false },
    { name: 'keyUsage', digitalSignature: true, keyEncipherment: true, critical: true },
    { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
    {
      name: 'subjectAltName',
      // GeneralName: 2 is a DNS name, 7 an IP address (RFC 5280 §4.2.1.6).
      altNames: certificateNames(domain).map((name) =>
        domain.kind === 'ip' ? { type: 7, ip: name } : { type: 2, value: name },
      ),
    },
  ]);
  const key = forge.pki.privateKeyFromPem(privateKey.export({ type: 'pkcs1', format: 'pem' }).toString());
  // forge writes the DER, OpenSSL signs it: such arithmetic in JavaScript takes seconds on a small board.
  key.sign = (digest) => {
    if (typeof digest === 'string') throw new TypeError('A digest object is needed');
    const hash = Buffer.from(digest.digest().getBytes(), 'latin1');
    const padding = constants.RSA_PKCS1_PADDING;
    const signature = privateEncrypt({ key: privateKey, padding }, Buffer.concat([sha256DigestInfo, hash]));
    return signature.toString('latin1');
  };
  certificate.sign(key, forge.md.sha256.create());
  return {
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    certificatePem: forge.pki.certificateToPem(certificate).replaceAll('\r\n', '\n'),
  };
}
