import { X509Certificate } from 'node:crypto';
import { connect, createServer } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { describe, expect, test } from 'vitest';
import { isUsableCertificate, isVouchedFor, makeSelfSigned } from '../../../appliance/boot/certificate.ts';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import { makeAuthority } from '../../fakes/certificates.ts';

const now = Date.UTC(2026, 5, 1);

describe('makeSelfSigned', () => {
  test.each(['chat.example.org', '_chat.example.org', '192.0.2.1', '2001:db8::1'])(
    'makes one for %s that a TLS client accepts for that name',
    async (name) => {
      const domain = parseDomain(name);
      const made = await makeSelfSigned(domain, now);
      expect(isUsableCertificate(made, domain, now)).toBe(true);
      const certificate = new X509Certificate(made.certificatePem);
      expect(certificate.validToDate.getUTCFullYear()).toBe(2036);
      expect(certificate.validFromDate.getUTCFullYear()).toBe(2024);
      expect(certificate.verify(certificate.publicKey)).toBe(true);
      expect(certificate.publicKey.asymmetricKeyDetails?.modulusLength).toBe(2048);

      const server = createServer({ key: made.keyPem, cert: made.certificatePem }, (socket) => socket.end());
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      try {
        const { port } = server.address() as AddressInfo;
        const authorized = await new Promise<boolean>((resolve, reject) => {
          const socket = connect({
            port,
            host: '127.0.0.1',
            ca: made.certificatePem,
            ...(domain.kind === 'name' ? { servername: name } : {}),
            ...(domain.kind === 'ip' ? { checkServerIdentity: () => undefined } : {}),
          });
          socket.once('secureConnect', () => resolve(socket.authorized));
          socket.once('error', reject);
          socket.resume();
        });
        expect(authorized).toBe(true);
      } finally {
        server.close();
      }
    },
  );
});

describe('isUsableCertificate', () => {
  test('refuses another domain, another key, one that has ended, and rubbish', async () => {
    const domain = parseDomain('chat.example.org');
    const made = await makeSelfSigned(domain, now);
    const other = await makeSelfSigned(parseDomain('192.0.2.1'), now);
    expect(isUsableCertificate(made, parseDomain('other.example.org'), now)).toBe(false);
    expect(isUsableCertificate(made, parseDomain('192.0.2.1'), now)).toBe(false);
    expect(isUsableCertificate({ ...made, keyPem: other.keyPem }, domain, now)).toBe(false);
    expect(isUsableCertificate(made, domain, Date.UTC(2036, 5, 2))).toBe(false);
    expect(isUsableCertificate({ keyPem: '', certificatePem: '' }, domain, now)).toBe(false);
  });
});

describe('isVouchedFor', () => {
  const domain = 'chat.example.org';
  const authority = makeAuthority();
  const { cert } = authority.issue([domain]);
  const other = makeAuthority('Another').certificatePem;

  test('believes an authority that the configuration does not have to name', () => {
    expect(isVouchedFor(cert, parseConfig({ domain }))).toBe(true);
    expect(isVouchedFor(cert, parseConfig({ domain, tls: { authorities: [other] } }))).toBe(true);
  });

  test('knows that clients do not believe an authority of a private network, nor the relay itself', async () => {
    const config = parseConfig({ domain, tls: { authorities: [other, authority.certificatePem] } });
    expect(isVouchedFor(cert, config)).toBe(false);
    const { certificatePem } = await makeSelfSigned(parseDomain(domain), now);
    expect(isVouchedFor(certificatePem, parseConfig({ domain }))).toBe(false);
    expect(isVouchedFor('nonsense', parseConfig({ domain }))).toBe(false);
  });
});
