import { describe, expect, test } from 'vitest';
import { covers, privateKeyPem, readCertificate, refusalOf } from '../../../appliance/acme/credentials.ts';
import { certificateBlocks } from '../../../appliance/base/pem.ts';
import { makeSelfSigned } from '../../../appliance/boot/certificate.ts';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import { makeTestAuthority } from '../../fixtures/acme/authority.ts';

const name = 'chat.example.org';
const now = Date.UTC(2026, 10, 21);
const dates = { notBeforeMs: now - 1000, notAfterMs: now + 1000 };
const authority = makeTestAuthority();
const good = authority.issue({ names: [name, `www.${name}`], ...dates });

describe('readCertificate', () => {
  test('reads what planning needs', () => {
    expect(readCertificate(good)).toMatchObject({
      names: [name, `www.${name}`],
      isOwn: false,
      issuer: 'Test Authority',
      ...dates,
    });
    expect(readCertificate('')).toBeUndefined();
    expect(readCertificate(good.replaceAll('A', 'B'))).toBeUndefined();
  });

  test('knows one that nobody else has signed', async () => {
    const own = await makeSelfSigned(parseDomain(name), now);
    expect(readCertificate(own.keyPem + own.certificatePem)?.isOwn).toBe(true);
  });
});

describe('covers', () => {
  test.each([
    [name, true],
    [`www.${name}`, true],
    [`mta-sts.${name}`, false],
    ['example.org', false],
  ])('%s: %s', (other, expected) => {
    const facts = readCertificate(good);
    expect(facts !== undefined && covers(facts, other)).toBe(expected);
  });

  test('takes an IPv6 address in any spelling', () => {
    const facts = readCertificate(authority.issue({ names: ['2001:db8::1', '192.0.2.1'], ...dates }));
    if (facts === undefined) throw new Error('No certificate');
    expect(
      ['2001:db8::1', '192.0.2.1', '2001:db8::2', '192.0.2.2'].map((each) => covers(facts, each)),
    ).toEqual([true, true, false, false]);
  });
});

describe('refusalOf', () => {
  const key = privateKeyPem(good) ?? '';
  const [leaf = '', root = ''] = certificateBlocks(good);
  const other = makeTestAuthority('Other');

  test('takes a key with its certificate and chain, and the certificate without chain', () => {
    expect(refusalOf(good, name, now)).toBeUndefined();
    expect(refusalOf(`${key}${leaf}\n`, name, now)).toBeUndefined();
  });

  test.each([
    ['no key', `${leaf}\n${root}`, 'no private key'],
    ['no certificate', key, 'no certificate'],
    ['another key', `${privateKeyPem(other.issue({ names: [name], ...dates }))}${leaf}`, 'cannot be used'],
    ['another name', authority.issue({ names: ['other.example.org'], ...dates }), 'not for chat.example.org'],
    ['a chain of somebody else', `${key}${leaf}\n${other.certificatePem}`, 'does not hang together'],
    ['a chain without end', `${key}${`${leaf}\n`.repeat(11)}`, 'more than 10'],
    ['bytes that are none', `${key}${leaf.replace('MII', 'AAA')}`, 'cannot be used'],
    ['too much of it', `${key}${leaf}${' '.repeat(300_000)}`, 'no certificate'],
  ])('refuses %s', (_, pem, words) => {
    expect(refusalOf(pem, name, now)).toContain(words);
  });

  test('refuses what is not valid yet and what is no longer', () => {
    expect(refusalOf(good, name, now - 1001)).toContain('not valid before');
    expect(refusalOf(good, name, now + 1000)).toContain('ended');
  });

  test('refuses one that the relay has signed itself', async () => {
    const own = await makeSelfSigned(parseDomain(name), now);
    expect(refusalOf(own.keyPem + own.certificatePem, name, now)).toBe('no authority has signed it');
  });
});
