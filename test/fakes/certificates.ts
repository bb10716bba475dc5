/** A certificate authority of a test, and the certificates it gives. */
import { generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import forge from 'node-forge';

export interface Credentials {
  readonly key: string;
  /** Its own certificate first, then those above it, without the root. */
  readonly cert: string;
  readonly certificate: X509Certificate;
}

export interface CertificateAuthority {
  readonly certificatePem: string;
  readonly certificate: X509Certificate;
  issue(
    names: readonly string[],
    options?: { readonly expired?: boolean; readonly withRoot?: boolean },
  ): Credentials;
}

const day = 24 * 3600_000;

function makeKey(): {
  privateKey: forge.pki.rsa.PrivateKey;
  publicKey: forge.pki.rsa.PublicKey;
  pem: string;
} {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return {
    pem,
    privateKey: forge.pki.privateKeyFromPem(pem),
    publicKey: forge.pki.publicKeyFromPem(publicKey.export({ type: 'spki', format: 'pem' }).toString()),
  };
}

export function makeAuthority(name = 'Test authority'): CertificateAuthority {
  const rootKey = makeKey();
  const leafKey = makeKey();
  const subject = [{ name: 'commonName', value: name }];
  const make = (
    publicKey: forge.pki.rsa.PublicKey,
    owner: { name: string; value: string }[],
    extensions: object[],
    notAfter: number,
  ): string => {
    const certificate = forge.pki.createCertificate();
    certificate.publicKey = publicKey;
    certificate.serialNumber = `01${randomBytes(8).toString('hex')}`;
    certificate.validity.notBefore = new Date(Date.now() - 30 * day);
    certificate.validity.notAfter = new Date(notAfter);
    certificate.setSubject(owner);
    certificate.setIssuer(subject);
    certificate.setExtensions(extensions);
    certificate.sign(rootKey.privateKey, forge.md.sha256.create());
    return forge.pki.certificateToPem(certificate);
  };
  const rootPem = make(
    rootKey.publicKey,
    subject,
    [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    ],
    Date.now() + 30 * day,
  );
  return {
    certificatePem: rootPem,
    certificate: new X509Certificate(rootPem),
    issue(names, { expired = false, withRoot = false } = {}) {
      const leaf = make(
        leafKey.publicKey,
        [{ name: 'commonName', value: names[0] ?? 'nobody' }],
        [
          { name: 'basicConstraints', cA: false },
          { name: 'extKeyUsage', serverAuth: true },
          {
            name: 'subjectAltName',
            altNames: names.map((value) => (isIP(value) > 0 ? { type: 7, ip: value } : { type: 2, value })),
          },
        ],
        Date.now() + (expired ? -1 : 30) * day,
      );
      return {
        key: leafKey.pem,
        cert: withRoot ? leaf + rootPem : leaf,
        certificate: new X509Certificate(leaf),
      };
    },
  };
}
