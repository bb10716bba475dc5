import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import { formatReply } from '../../../appliance/smtp/reply.ts';
import { findRoute, isOwnAddress } from '../../../appliance/transport/route.ts';
import { mailDns, type MailZone } from '../../fakes/mail-dns.ts';

const signal = new AbortController().signal;

async function route(domain: string, zone: MailZone, random = () => 0) {
  const ownDomain = parseDomain('chat.example.org');
  const found = await findRoute(domain, { resolver: mailDns(zone), ownDomain, random }, signal);
  return found.kind === 'refused' ? formatReply(found.reply) : found.hosts;
}

const names = async (values: readonly string[], random?: () => number) => {
  const hosts = await route('other.example', { records: { 'other.example MX': values } }, random);
  return typeof hosts === 'string' ? hosts : hosts.map(({ name }) => name);
};

describe('findRoute', () => {
  test('sorts by preference, whatever the order of the answer', async () => {
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray([0, 5, 10, 65_535], { minLength: 1 }), async (preferences) => {
        const values = preferences.map((preference) => `${preference} mx${preference}.other.example.`);
        expect(await names(values)).toEqual(
          preferences.toSorted((a, b) => a - b).map((preference) => `mx${preference}.other.example`),
        );
      }),
    );
  });

  test('shares the load among equals', async () => {
    const values = ['10 a.other.example.', '10 b.other.example.'];
    const lots = [0.9, 0.1];
    expect(await names(values, () => lots.shift() ?? 0)).toEqual(['b.other.example', 'a.other.example']);
  });

  test('tries no more than five', async () => {
    const values = Array.from({ length: 20 }, (_, index) => `${index} mx${index}.other.example.`);
    expect(await names(values)).toHaveLength(5);
  });

  test('ends before ourselves, in any case', async () => {
    const values = [
      '10 a.other.example.',
      '20 CHAT.example.org.',
      '20 b.other.example.',
      '30 c.other.example.',
    ];
    expect(await names(values)).toEqual(['a.other.example']);
  });

  test('passes over a null MX beside others', async () => {
    expect(await names(['0 .', '10 a.other.example.'])).toEqual(['a.other.example']);
  });

  test('takes a domain without MX for its own, and knows who has no certificate', async () => {
    const zone: MailZone = {
      records: { 'other.example A': ['192.0.2.1'], '_other.example A': ['192.0.2.1'] },
      secure: ['other.example MX'],
    };
    expect(await route('Other.Example', zone)).toEqual([
      { name: 'other.example', needsCertificate: true, isSecure: true },
    ]);
    expect(await route('_other.example', zone)).toEqual([
      { name: '_other.example', needsCertificate: false, isSecure: false },
    ]);
  });

  test.each([
    ['[192.0.2.7]', '192.0.2.7'],
    ['[IPv6:2001:DB8::7]', '2001:db8::7'],
    ['[2001:db8:0::7]', '2001:db8::7'],
  ])('needs no DNS for %s', async (literal, address) => {
    expect(await route(literal, { records: {} })).toEqual([
      { name: address, address, needsCertificate: false, isSecure: false },
    ]);
  });

  test.each(['192.0.2.7', 'localhost', '[nonsense]', '', 'a..b', 'x'.repeat(300)])(
    'refuses %j as a domain',
    async (domain) => {
      expect(await route(domain, { records: {} })).toMatch(/^512 5\.1\.2 /);
    },
  );

  test('refuses our own domain', async () => {
    expect(await route('chat.example.org', { records: {} })).toMatch(/^554 5\.4\.6 /);
  });
});

describe('isOwnAddress', () => {
  test.each([
    '127.0.0.1',
    '127.9.9.9',
    '0.0.0.0',
    '255.255.255.255',
    '224.0.0.1',
    '::1',
    '::',
    'ff02::1',
    '::ffff:127.0.0.1',
  ])('%s is', (address) => {
    expect(isOwnAddress(address)).toBe(true);
  });

  test.each(['192.0.2.1', '2001:db8::1', '::ffff:192.0.2.1'])('%s is not', (address) => {
    expect(isOwnAddress(address)).toBe(false);
  });
});
