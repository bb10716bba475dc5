import { createHash, type X509Certificate } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { judgeDane, matches, usableRecords } from '../../../appliance/transport/dane.ts';
import { makeAuthority } from '../../fakes/certificates.ts';

const authority = makeAuthority();
const leaf = authority.issue(['mx.other.example']).certificate;
const expired = authority.issue(['mx.other.example'], { expired: true }).certificate;
const impostor = makeAuthority();
const root = authority.certificate;
const names = ['mx.other.example', 'other.example'];
const nowMs = Date.now();

const spki = (certificate: X509Certificate) => certificate.publicKey.export({ type: 'spki', format: 'der' });
const subjectOf = { 0: (certificate: X509Certificate) => certificate.raw, 1: spki };
const hashOf = {
  0: (bytes: Uint8Array) => Buffer.from(bytes),
  1: (bytes: Uint8Array) => createHash('sha256').update(bytes).digest(),
  2: (bytes: Uint8Array) => createHash('sha512').update(bytes).digest(),
};

/** A record of the given parameters about a certificate, in presentation form. */
function tlsa(usage: number, selector: 0 | 1, matching: 0 | 1 | 2, certificate: X509Certificate): string {
  return `${usage} ${selector} ${matching} ${hashOf[matching](subjectOf[selector](certificate)).toString('hex')}`;
}

describe('usableRecords', () => {
  test.each([
    `0 0 1 ${'00'.repeat(32)}`,
    `1 1 1 ${'00'.repeat(32)}`,
    `4 1 1 ${'00'.repeat(32)}`,
    `3 2 1 ${'00'.repeat(32)}`,
    `3 1 3 ${'00'.repeat(32)}`,
    `3 1 1 ${'00'.repeat(31)}`,
    `3 1 2 ${'00'.repeat(32)}`,
    '3 1 0 ',
    '3 1 0 xyz',
    '3 1',
    '\\# 3 030101',
    '',
  ])('passes over %j', (value) => {
    expect(usableRecords([value])).toEqual([]);
  });

  test('keeps the others beside them', () => {
    const records = usableRecords([`1 1 1 ${'00'.repeat(32)}`, tlsa(3, 1, 1, leaf), tlsa(2, 0, 2, root)]);
    expect(records.map(({ usage, selector, matching }) => [usage, selector, matching])).toEqual([
      [3, 1, 1],
      [2, 0, 2],
    ]);
  });
});

describe('judgeDane', () => {
  const verdict = (values: readonly string[], chain: readonly X509Certificate[], at = nowMs, of = names) =>
    judgeDane(usableRecords(values), { chain, names: of, nowMs: at });

  test.each(
    ([0, 1] as const).flatMap((selector) =>
      ([0, 1, 2] as const).map((matching) => [selector, matching] as const),
    ),
  )('selector %i and matching type %i find their certificate and no other', (selector, matching) => {
    for (const usage of [2, 3]) {
      const about = usage === 3 ? leaf : root;
      expect(verdict([tlsa(usage, selector, matching, about)], [leaf, root])).toBeNull();
      expect(verdict([tlsa(usage, selector, matching, impostor.certificate)], [leaf, root])).not.toBeNull();
    }
    const [record] = usableRecords([tlsa(3, selector, matching, leaf)]);
    expect(record && matches(record, leaf)).toBe(true);
    expect(record && matches(record, root)).toBe(false);
  });

  test('DANE-EE looks at no name and no date', () => {
    expect(verdict([tlsa(3, 1, 1, expired)], [expired], nowMs, ['other.name'])).toBeNull();
  });

  test('DANE-EE is about the server itself, not about who signed it', () => {
    expect(verdict([tlsa(3, 1, 1, root)], [leaf, root])).not.toBeNull();
  });

  test('DANE-TA looks at both', () => {
    const records = [tlsa(2, 0, 1, root)];
    expect(verdict(records, [expired, root])).toMatch(/run out/);
    expect(verdict(records, [leaf, root], nowMs, ['other.name'])).toMatch(/does not name/);
    expect(verdict(records, [leaf, root], nowMs, ['nobody.example', 'mx.other.example'])).toBeNull();
  });

  test('an anchor that the server does not send along, or that signed nothing, is none', () => {
    expect(verdict([tlsa(2, 0, 1, root)], [leaf])).not.toBeNull();
    // Of the same name, so that only the signature tells them apart.
    const twin = makeAuthority();
    expect(verdict([tlsa(2, 0, 1, twin.certificate)], [leaf, twin.certificate])).not.toBeNull();
  });

  test('a server without certificate is refused', () => {
    expect(verdict([tlsa(3, 1, 1, leaf)], [])).toMatch(/no certificate/);
  });
});
