/** What is in the file of key and certificate chain, and whether a new one may take its place. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { messageOf } from '../base/errors.ts';
import { certificateBlocks } from '../base/pem.ts';
import { renewalIdOf } from './renewal-info.ts';

/** A certificate as far as planning is concerned. */
export interface CertificateFacts {
  /** Lower-case DNS names, and IP addresses as OpenSSL writes them. */
  readonly names: readonly string[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Nobody but its owner has signed it. */
  readonly isOwn: boolean;
  /** The issuer's organisation or common name, for people. */
  readonly issuer: string;
  /** SHA-256 over the certificate, in hex with colons. */
  readonly fingerprint: string;
  /** By which renewalInfo and `replaces` know it (RFC 9773 §4.1); none for one without an authority key id. */
  readonly renewalId?: string;
}

/** Root, intermediates and leaf of any authority; more is a mistake or an attack. */
const maxChainLength = 10;

/** The private key's PEM block, with a newline; undefined when there is none. */
export function privateKeyPem(pem: string): string | undefined {
  const block = /-----BEGIN (?:EC |RSA )?PRIVATE KEY-----[^-]+-----END (?:EC |RSA )?PRIVATE KEY-----/.exec(
    pem,
  );
  return block === null ? undefined : `${block[0]}\n`;
}

/** Facts of the leaf, or undefined when the text holds no certificate that can be read. */
export function readCertificate(pem: string): CertificateFacts | undefined {
  const [leaf] = certificateBlocks(pem);
  if (leaf === undefined) return undefined;
  try {
    return factsOf(new X509Certificate(leaf));
  } catch {
    return undefined;
  }
}

function factsOf(certificate: X509Certificate): CertificateFacts {
  const renewalId = renewalIdOf(certificate);
  return {
    names: subjectAltNames(certificate),
    notBeforeMs: certificate.validFromDate.getTime(),
    notAfterMs: certificate.validToDate.getTime(),
    isOwn: certificate.issuer === certificate.subject,
    issuer: /^O=(.+)$/m.exec(certificate.issuer)?.[1] ?? /^CN=(.+)$/m.exec(certificate.issuer)?.[1] ?? '',
    fingerprint: certificate.fingerprint256,
    ...(renewalId === undefined ? {} : { renewalId }),
  };
}

function subjectAltNames(certificate: X509Certificate): string[] {
  return (certificate.subjectAltName ?? '').split(', ').flatMap((entry) => {
    const match = /^(?:DNS|IP Address):(.+)$/.exec(entry);
    return match?.[1] === undefined ? [] : [match[1].toLowerCase()];
  });
}

/** True when the certificate is for `name`: a DNS name in lower case, or an IP address. No wildcards. */
export function covers(facts: CertificateFacts, name: string): boolean {
  if (facts.names.includes(name)) return true;
  // OpenSSL writes IPv6 in full and upper case: FD00:0:0:0:0:0:0:1.
  return name.includes(':') && facts.names.some((other) => other.includes(':') && sameIpv6(other, name));
}

function sameIpv6(one: string, other: string): boolean {
  try {
    return new URL(`http://[${one}]`).hostname === new URL(`http://[${other}]`).hostname;
  } catch {
    return false;
  }
}

/**
 * Why a key and chain cannot be put to use for `name`, in words, or undefined when they can: the chain
 * parses and hangs together, the key is the leaf's, its name and dates are right, and TLS takes it.
 */
export function refusalOf(pem: string, name: string, nowMs: number): string | undefined {
  const blocks = certificateBlocks(pem);
  const keyPem = privateKeyPem(pem);
  if (keyPem === undefined) return 'there is no private key with it';
  if (blocks.length === 0) return 'there is no certificate in it';
  if (blocks.length > maxChainLength) return `its chain has more than ${maxChainLength} certificates`;
  let chain: X509Certificate[];
  let key: KeyObject;
  try {
    chain = blocks.map((block) => new X509Certificate(block));
    key = createPrivateKey(keyPem);
    createSecureContext({ key: pem, cert: blocks.join('\n'), minVersion: 'TLSv1.2' });
  } catch (error) {
    return `it cannot be used: ${messageOf(error)}`;
  }
  const [leaf] = chain;
  if (leaf === undefined || !leaf.checkPrivateKey(key))
    return 'the private key is not that of the certificate';
  const facts = factsOf(leaf);
  if (!covers(facts, name)) return `it is for ${facts.names.join(', ')} and not for ${name}`;
  if (facts.isOwn) return 'no authority has signed it';
  if (facts.notBeforeMs > nowMs) return `it is not valid before ${new Date(facts.notBeforeMs).toISOString()}`;
  if (facts.notAfterMs <= nowMs) return `it ended at ${new Date(facts.notAfterMs).toISOString()}`;
  for (const [index, certificate] of chain.slice(0, -1).entries()) {
    const issuer = chain[index + 1];
    if (issuer !== undefined && !certificate.checkIssued(issuer)) return 'its chain does not hang together';
  }
  return undefined;
}
