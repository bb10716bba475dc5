import { describe, expect, test } from 'vitest';
import {
  maxConfigBytes,
  parseConfig,
  parseConfigText,
  toDocument,
} from '../../../appliance/contract/config.ts';

describe('parseConfig', () => {
  test('fills every default from a domain alone', () => {
    const config = parseConfig({ domain: 'chat.example.org' });
    expect(config.accounts).toMatchObject({
      create: 'open',
      localpartMin: 9,
      localpartMax: 9,
      passwordMin: 9,
    });
    expect(config.mail).toMatchObject({
      maxMessageBytes: 31_457_280,
      quotaBytes: 524_288_000,
      messagesPerMinute: 60,
    });
    expect(config.network).toMatchObject({ ipv4: 'dhcp', ipv6: 'auto' });
  });

  test('survives a round trip through its document', () => {
    for (const domain of ['chat.example.org', '2001:db8::1']) {
      const config = parseConfig({
        domain,
        secrets: { dkimKey: 'k' },
        comment: 'Hi',
        mail: { quotaBytes: 2 ** 30 },
      });
      expect(parseConfig(toDocument(config))).toEqual(config);
    }
  });

  test.each([
    [{ domain: 'a.example', colour: 'red' }, 'colour', 'is not a known setting'],
    [{ domain: 'a.example', mail: { quotaBytes: 'x' } }, 'mail.quotaBytes', 'should be number'],
    [{ domain: 'a.example', mail: { messageBurst: 0 } }, 'mail.messageBurst', 'should be >=1'],
    [{ domain: 'a.example', comment: 'a\nb' }, 'comment', 'control character'],
    [
      { domain: 'a.example', network: { ipv4: { address: '1.2.3.4', gateway: '1.2.3.1' } } },
      'network.ipv4.address',
      'prefix',
    ],
    [
      { domain: 'a.example', network: { ipv4: { address: '2001:db8::5/64', gateway: '2001:db8::1' } } },
      'network.ipv4.address',
      'is not an IPv4 address with a prefix length',
    ],
    [
      { domain: 'a.example', network: { ipv6: { address: '2001:db8::5/129', gateway: 'fe80::1' } } },
      'network.ipv6.address',
      'is not an IPv6 address with a prefix length',
    ],
    [{ domain: 'a.example', network: { wifi: { ssid: 'Home' } } }, 'network.wifi.country', 'should be'],
    [
      { domain: 'a.example', network: { wifi: { ssid: 'Home', country: 'de' } } },
      'network.wifi.country',
      'two capital letters',
    ],
    [
      { domain: 'a.example', network: { wifi: { ssid: 'ü'.repeat(17), country: 'DE' } } },
      'network.wifi.ssid',
      '1 to 32 bytes',
    ],
    [{ domain: 'a.example', network: { interface: '../eth0' } }, 'network.interface', 'is not the name'],
    [{ domain: 'a.example', network: { mdnsName: 'my.name' } }, 'network.mdnsName', 'letters'],
    [{ domain: 'a.example', accounts: { localpartMin: 10 } }, 'accounts.localpartMax', 'is below'],
    [{ domain: 'a.example', accounts: { create: true } }, 'accounts.create', 'should be'],
    [
      { domain: 'a.example', accounts: { tokens: [{ token: 'short' }] } },
      'accounts.tokens.0.token',
      '12 to 64',
    ],
    [
      { domain: 'a.example', accounts: { tokens: [{ token: 'a'.repeat(12), expires: 'soon' }] } },
      'accounts.tokens.0.expires',
      'is not a date',
    ],
    [
      { domain: 'a.example', accounts: { tokens: [{ token: 'a'.repeat(12), expires: '2027-02-31' }] } },
      'accounts.tokens.0.expires',
      'is not a date',
    ],
    [
      { domain: 'a.example', accounts: { tokens: [{ token: 'a'.repeat(12) }, { token: 'a'.repeat(12) }] } },
      'accounts.tokens.1.token',
      'there twice',
    ],
    [{}, 'domain', 'should be'],
    [null, '(document)', 'should be Object'],
  ])('refuses %j at its path', (document, path, text) => {
    expect(() => parseConfig(document)).toThrow(
      expect.objectContaining({ path, message: expect.stringContaining(text) }),
    );
  });
});

describe('network.wifi', () => {
  const wifi = (network: object, wifiPassword?: string) =>
    parseConfig({ domain: 'a.example', network: { wifi: network }, secrets: { wifiPassword } });

  test.each(['ü'.repeat(16), ' "\n\\', 'Home'])('takes the name %j', (ssid) => {
    expect(wifi({ ssid, country: 'DE' }).network.wifi).toEqual({
      ssid,
      country: 'DE',
      security: 'wpa',
      hidden: false,
    });
  });

  test.each([
    ['seven77', false],
    ['eight888', true],
    [' "#\\~!"', false],
    [' "#\\~! "', true],
    ['x'.repeat(63), true],
    ['f'.repeat(64), true],
    ['x'.repeat(64), false],
    ['Straße123', false],
    ['with\nbreak', false],
  ])('the password %j: %s', (password, isTaken) => {
    const read = () => wifi({ ssid: 'Home', country: 'DE' }, password).secrets.wifiPassword;
    if (isTaken) expect(read()).toBe(password);
    else expect(read).toThrow(expect.objectContaining({ path: 'secrets.wifiPassword' }));
  });

  test('a password that no network has is refused, without quoting it', () => {
    for (const network of [{}, { wifi: { ssid: 'Cafe', country: 'DE', security: 'open' } }]) {
      expect(() =>
        parseConfig({ domain: 'a.example', network, secrets: { wifiPassword: 'the-token' } }),
      ).toThrow(
        expect.objectContaining({
          path: 'secrets.wifiPassword',
          message: expect.not.stringContaining('the-token'),
        }),
      );
    }
  });
});

describe('secrets', () => {
  test.each([
    [{ secrets: 'the-token' }, 'secrets'],
    [{ secrets: { dkimKey: { pem: 'the-token' } } }, 'secrets.dkimKey'],
    [{ secrets: { wifiPassword: ['the-token'] } }, 'secrets.wifiPassword'],
    [{ secrets: { wifiPassword: 'the-token\n' } }, 'secrets.wifiPassword'],
    [{ secrets: { dnsCredentials: 'the-token' } }, 'secrets.dnsCredentials'],
    [{ secrets: { dnsCredentials: { 'the-token': 'DESEC_TOKEN' } } }, 'secrets.dnsCredentials'],
    [{ secrets: { dnsCredentials: { DESEC_TOKEN: ['the-token'] } } }, 'secrets.dnsCredentials'],
    [{ secrets: { dnsCredentials: { DESEC_TOKEN: 'the-token'.repeat(500) } } }, 'secrets.dnsCredentials'],
  ])('of %j nothing is quoted', (document, path) => {
    expect(() => parseConfig({ domain: 'a.example', ...document })).toThrow(
      expect.objectContaining({ path, message: expect.not.stringContaining('the-token') }),
    );
  });

  test.each([
    '{"secrets":{"dkimKey": the-token}}',
    '{"secrets":{"dkimKey": "the-token" the-token',
    'the-token',
  ])('broken text is not quoted: %s', (text) => {
    expect(() => parseConfigText(text)).toThrow(
      expect.objectContaining({ message: expect.not.stringMatching(/the-tok|"/) }),
    );
  });
});

describe('parseConfigText', () => {
  test('takes what editors leave behind: byte-order mark, CRLF, comments, trailing commas', () => {
    const text =
      '\uFEFF{\r\n  // the name\r\n  "domain": "chat.example.org", /* and */\r\n  "comment": "a // b, ]",\r\n}\r\n';
    expect(parseConfigText(text)).toMatchObject({ comment: 'a // b, ]' });
  });

  test('names the line of a syntax error', () => {
    expect(() => parseConfigText('{\n// one\n"domain" "a.example"}')).toThrow(
      expect.objectContaining({ message: expect.stringContaining('Line 3') }),
    );
  });

  test('refuses a file larger than any seed', () => {
    expect(() => parseConfigText(' '.repeat(maxConfigBytes + 1))).toThrow(/longer than/);
  });
});
