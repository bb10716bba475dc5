import { describe, expect, test } from 'vitest';
import { isMailDomain, mailDomain, parseDomain, plainDomain } from '../../../appliance/contract/domain.ts';

describe('parseDomain', () => {
  test.each([
    ['Chat.Example.ORG', 'chat.example.org'],
    ['chat.example.org.', 'chat.example.org'],
    [' chat.example.org ', 'chat.example.org'],
    ['chät.example', 'xn--cht-rla.example'],
    ['_chat.example.org', '_chat.example.org'],
  ])('reads the name %j', (text, name) => {
    expect(parseDomain(text)).toMatchObject({ kind: 'name', name });
  });

  test('keeps the form people read of an internationalised name', () => {
    expect(parseDomain('xn--cht-rla.example')).toMatchObject({ unicode: 'chät.example' });
  });

  test.each([
    ['192.0.2.1', 4, '192.0.2.1'],
    ['[192.0.2.1]', 4, '192.0.2.1'],
    ['2001:DB8:0:0::1', 6, '2001:db8::1'],
    ['[IPv6:2001:db8::1]', 6, '2001:db8::1'],
    ['[2001:db8::1]', 6, '2001:db8::1'],
  ])('reads the address %j', (text, family, address) => {
    expect(parseDomain(text)).toEqual({ kind: 'ip', family, address });
  });

  test.each([
    '',
    'localhost',
    'a..b',
    '-a.example',
    'a-.example',
    'a b.example',
    'user@example.org',
    'https://example.org',
    'example.org:25',
    '[example.org]',
    '1.2.3.256',
    'fe80::1%eth0',
    'a._b.example',
    `${'a'.repeat(64)}.example`,
    `${'a.'.repeat(127)}example`,
  ])('refuses %j and says how to write one', (text) => {
    expect(() => parseDomain(text)).toThrow(
      expect.objectContaining({
        name: 'ConfigError',
        path: 'domain',
        fix: expect.stringContaining('chat.example.org'),
      }),
    );
  });
});

describe('address literals', () => {
  const v4 = parseDomain('192.0.2.1');
  const v6 = parseDomain('2001:db8::1');
  test('carry brackets and tag in mail, and neither elsewhere', () => {
    expect([mailDomain(v4), mailDomain(v6)]).toEqual(['[192.0.2.1]', '[IPv6:2001:db8::1]']);
    expect([plainDomain(v4), plainDomain(v6)]).toEqual(['192.0.2.1', '2001:db8::1']);
  });

  test('are recognised in every form that clients write', () => {
    for (const text of ['[ipv6:2001:DB8::1]', '[IPv6:2001:db8:0:0:0:0:0:1]', '[2001:db8::1]']) {
      expect(isMailDomain(v6, text)).toBe(true);
    }
    for (const text of ['2001:db8::1', '[2001:db8::2]', '[', '[x]', 'example.org']) {
      expect(isMailDomain(v6, text)).toBe(false);
    }
    expect(isMailDomain(parseDomain('chat.example.org'), 'CHAT.example.org')).toBe(true);
  });
});
