import { describe, expect, test } from 'vitest';
import {
  certificateNames,
  certificateSource,
  privateSuffix,
} from '../../../appliance/contract/certificate.ts';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { parseDomain } from '../../../appliance/contract/domain.ts';

const sourceOf = (domain: string, certificate: 'auto' | 'acme' | 'self-signed' = 'auto') =>
  certificateSource(parseConfig({ domain, tls: { certificate } }));

describe('certificateSource', () => {
  test.each([
    'chat.example.org',
    'nine.testrun.org',
    'xn--bcher-kva.example.net',
    'local.example.org',
    '8.8.8.8',
    '100.128.0.1',
    '172.32.0.1',
    '2a00:1450:4001:830::200e',
  ])('an authority vouches for %s', (domain) => {
    expect(sourceOf(domain)).toBe('acme');
  });

  test.each([
    '_chat.example.org',
    'chat.local',
    'chat.internal',
    'chat.test',
    'chat.home.arpa',
    'chat.lan',
    'chat.localhost',
    'chat.invalid',
    'chat.example',
    'abcdefghijklmnop.onion',
    'mail.corp',
    '10.1.2.3',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '127.0.0.1',
    '169.254.1.1',
    '100.64.0.1',
    '100.127.255.255',
    '192.0.2.1',
    '::1',
    'fe80::1',
    'fd12:3456::1',
    '2001:db8::1',
  ])('%s signs for itself', (domain) => {
    expect(sourceOf(domain)).toBe('self-signed');
  });

  test('the configuration has the last word', () => {
    expect(sourceOf('chat.test', 'acme')).toBe('acme');
    expect(sourceOf('chat.example.org', 'self-signed')).toBe('self-signed');
  });
});

describe('privateSuffix', () => {
  test.each([
    ['chat.lan', 'lan'],
    ['chat.home.arpa', 'home.arpa'],
    ['a.b.internal', 'internal'],
    ['chat.example.org', undefined],
    ['192.168.1.1', undefined],
  ])('of %s is %s', (domain, suffix) => {
    expect(privateSuffix(parseDomain(domain))).toBe(suffix);
  });
});

describe('certificateNames', () => {
  test.each([
    ['chat.example.org', ['chat.example.org', 'www.chat.example.org', 'mta-sts.chat.example.org']],
    ['_chat.example.org', ['_chat.example.org']],
    ['192.0.2.1', ['192.0.2.1']],
    ['2001:DB8::1', ['2001:db8::1']],
  ])('%s', (domain, names) => {
    expect(certificateNames(parseDomain(domain))).toEqual(names);
  });
});
