import { describe, expect, test } from 'vitest';
import { canonicalAddress, creationRefusal } from '../../../appliance/accounts/rules.ts';
import { parseConfig } from '../../../appliance/contract/config.ts';

const config = (document: object = {}) => parseConfig({ domain: 'chat.example.org', ...document });

describe('canonicalAddress', () => {
  test.each([
    ['alice.b-1@chat.example.org', 'alice.b-1@chat.example.org'],
    ['ALICE_99@Chat.Example.ORG', 'alice_99@chat.example.org'],
  ])('takes %s', (text, canonical) => {
    expect(canonicalAddress(config(), text)).toBe(canonical);
  });

  test.each([
    '',
    'alice',
    '@chat.example.org',
    'alice@',
    'alice@example.org',
    'alice@chat.example.org.evil.org',
    'alice@bob@chat.example.org',
    'alice+tag@chat.example.org',
    'alice/../bob@chat.example.org',
    'älice@chat.example.org',
    'ali ce@chat.example.org',
    'alice\n@chat.example.org',
    `${'a'.repeat(65)}@chat.example.org`,
    `${'a'.repeat(300)}@chat.example.org`,
  ])('refuses %j', (text) => {
    expect(canonicalAddress(config(), text)).toBeNull();
  });

  test('knows an IPv4 literal only with its brackets', () => {
    const literal = config({ domain: '192.0.2.1' });
    expect(canonicalAddress(literal, 'alice@[192.0.2.1]')).toBe('alice@[192.0.2.1]');
    expect(canonicalAddress(literal, 'alice@192.0.2.1')).toBeNull();
    expect(canonicalAddress(literal, 'alice@[192.0.2.2]')).toBeNull();
  });

  test.each(['[2001:db8::1]', '[IPv6:2001:db8::1]', '[ipv6:2001:DB8:0:0::1]'])(
    'has one form for %s',
    (text) => {
      const literal = config({ domain: '2001:db8::1' });
      expect(canonicalAddress(literal, `alice@${text}`)).toBe('alice@[IPv6:2001:db8::1]');
    },
  );
});

describe('creationRefusal', () => {
  const domain = 'chat.example.org';

  test('lets nine characters with nine characters of password in', () => {
    expect(creationRefusal(config(), `alice.123@${domain}`, '123456789')).toBeNull();
  });

  test.each([
    [`alice.12@${domain}`, '123456789', 'localpart-too-short'],
    [`alice.1234@${domain}`, '123456789', 'localpart-too-long'],
    [`alice.123@${domain}`, '12345678', 'password-too-short'],
    [`alice.123@${domain}`, 'x'.repeat(1025), 'password-too-long'],
  ])('refuses %s with %s', (address, password, refusal) => {
    expect(creationRefusal(config(), address, password)).toBe(refusal);
  });

  test('counts characters of a password, not UTF-16 units', () => {
    expect(creationRefusal(config(), `alice.123@${domain}`, '😀'.repeat(8))).toBe('password-too-short');
    expect(creationRefusal(config(), `alice.123@${domain}`, '😀'.repeat(9))).toBeNull();
  });

  test.each(['closed', 'token'])('refuses everybody when creation is for %s', (create) => {
    const refusal = creationRefusal(config({ accounts: { create } }), `alice.123@${domain}`, '123456789');
    expect(refusal).toBe('creation-closed');
  });
});
