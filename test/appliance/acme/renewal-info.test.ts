import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeElements, encodeElement, encodeObjectIdentifier } from '../../../appliance/acme/der.ts';
import { retryAfterMs } from '../../../appliance/acme/https.ts';
import { parseRenewalInfo, renewalIdOf } from '../../../appliance/acme/renewal-info.ts';
import { makeTestAuthority } from '../../fixtures/acme/authority.ts';
import { ProtocolError } from '../../../appliance/base/errors.ts';

/** RFC 9773 appendix A. */
const example = `-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
`;

describe('renewalIdOf', () => {
  test('makes the identifier of the example in RFC 9773, with the zero before the serial number', () => {
    expect(renewalIdOf(new X509Certificate(example))).toBe('aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE');
  });

  test('takes key identifier and serial number as they stand in the certificate', () => {
    const authority = makeTestAuthority();
    const serial = Uint8Array.of(0, 0xff, 1, 2);
    const pem = authority.issue({ names: ['a.example'], notBeforeMs: 0, notAfterMs: 1e12, serial });
    const leaf = new X509Certificate(/-----BEGIN CERT[^]*?-----END CERTIFICATE-----/.exec(pem)?.[0] ?? '');
    const keyId = Buffer.from(authority.keyId).toString('base64url');
    expect(renewalIdOf(leaf)).toBe(`${keyId}.${Buffer.from(serial).toString('base64url')}`);
  });

  test('is none where no authority is named', () => {
    expect(renewalIdOf(new X509Certificate(makeTestAuthority().certificatePem))).toBeUndefined();
  });
});

describe('parseRenewalInfo', () => {
  const info = (start: string, end: string, more: object = {}) =>
    JSON.stringify({ suggestedWindow: { start, end }, ...more });

  test('reads a window', () => {
    const text = info('2026-01-02T04:00:00Z', '2026-01-03T04:00:00+02:00', {
      explanationURL: 'https://authority.example/why',
    });
    expect(parseRenewalInfo(text)).toEqual({
      startMs: Date.UTC(2026, 0, 2, 4),
      endMs: Date.UTC(2026, 0, 3, 2),
      explanationUrl: 'https://authority.example/why',
    });
  });

  test('drops a page that is none', () => {
    const text = info('2026-01-02T04:00:00Z', '2026-01-03T04:00:00Z', {
      explanationURL: 'javascript:alert(1)',
    });
    expect(parseRenewalInfo(text)).not.toHaveProperty('explanationUrl');
  });

  test.each([
    ['no JSON', '{'],
    ['no window', '{}'],
    ['no times', info('soon', 'later')],
    ['times without a zone', info('2026-01-02T04:00:00', '2026-01-03T04:00:00')],
    ['a day that is none', info('2026-13-02T04:00:00Z', '2026-13-03T04:00:00Z')],
    ['a window that ends before it begins', info('2026-01-03T04:00:00Z', '2026-01-02T04:00:00Z')],
  ])('refuses %s', (_, text) => {
    expect(() => parseRenewalInfo(text)).toThrow(ProtocolError);
  });

  test('refuses anything else with the same error', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(() => parseRenewalInfo(text)).toThrow(ProtocolError);
      }),
    );
  });
});

describe('retryAfterMs', () => {
  test('reads seconds and dates, and nothing else', () => {
    const now = Date.UTC(2026, 0, 1);
    expect(retryAfterMs('120', now)).toBe(now + 120_000);
    expect(retryAfterMs('Thu, 01 Jan 2026 06:00:00 GMT', now)).toBe(now + 6 * 3_600_000);
    for (const text of [undefined, '', 'soon', '-1', '1e9', '99999999999', 'x'.repeat(100)]) {
      expect(retryAfterMs(text, now)).toBeUndefined();
    }
  });
});

describe('DER', () => {
  test('what is encoded is decoded, whatever its length', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 4 }), (contents) => {
        const bytes = Buffer.concat(contents.map((content) => encodeElement(0x04, content)));
        expect(decodeElements(bytes).map(({ content }) => Buffer.from(content))).toEqual(
          contents.map((content) => Buffer.from(content)),
        );
      }),
    );
  });

  test('an element that is cut off is refused, at every byte', () => {
    const bytes = encodeElement(0x30, Buffer.alloc(300));
    for (let end = 1; end < bytes.length; end++) {
      expect(() => decodeElements(bytes.subarray(0, end))).toThrow(ProtocolError);
    }
    expect(() => decodeElements(Uint8Array.of(0x30, 0x80, 0, 0))).toThrow('no definite length');
    expect(() => decodeElements(Uint8Array.of(0x30, 0x84, 0xff, 0xff, 0xff, 0xff))).toThrow(ProtocolError);
  });

  test('arcs of an object identifier take as many groups of seven bits as they need', () => {
    expect(Buffer.from(encodeObjectIdentifier('1.2.840.113549.1.1.11')).toString('hex')).toBe(
      '06092a864886f70d01010b',
    );
  });
});
