import fc from 'fast-check';
import { isIP } from 'node:net';
import { describe, expect, test } from 'vitest';
import { anonymousLine } from '../../../appliance/supervise/anonymous-log.ts';

describe('anonymousLine', () => {
  test.each([
    [
      'Nov 21 06:55:23 chat postfix/smtpd[123]: connect from unknown[203.0.113.5]',
      'Nov 21 06:55:23 chat postfix/smtpd[123]: connect from unknown[…]',
    ],
    [
      'postfix/smtpd[9]: 4dF: client=unknown[2001:db8::5], sasl_method=PLAIN, sasl_username=alice.123@chat.example.org',
      'postfix/smtpd[9]: 4dF: client=unknown[…], sasl_method=PLAIN, sasl_username=…@chat.example.org',
    ],
    [
      'postfix/anvil[7]: statistics: max connection count 2 for (smtp:203.0.113.5) at Nov 21 06:55:23',
      'postfix/anvil[7]: statistics: max connection count 2 for (smtp:…) at Nov 21 06:55:23',
    ],
    [
      'postfix/cleanup[8]: 4dF: milter-reject: END-OF-MESSAGE from unknown[::ffff:203.0.113.5]: 5.7.1 No; from=<a@b.example> to=<"odd one"@c.example>',
      'postfix/cleanup[8]: 4dF: milter-reject: END-OF-MESSAGE from unknown[…]: 5.7.1 No; from=<…@b.example> to=<…@c.example>',
    ],
    [
      'postfix/lmtp[8]: 4dF: to=<bob@[192.0.2.1]>, relay=mx.example.net[198.51.100.7]:25, status=deferred',
      'postfix/lmtp[8]: 4dF: to=<…@[192.0.2.1]>, relay=mx.example.net[198.51.100.7]:25, status=deferred',
    ],
    [
      'imap-login: Warning: Disconnected: user=<alice@[IPv6:2001:db8::1]>, rip=203.0.113.5, lip=192.0.2.1, TLS',
      'imap-login: Warning: Disconnected: user=<…@[IPv6:…]>, rip=…, lip=…, TLS',
    ],
    [
      'lmtp(alice123@chat.example.org)<5><x>: Error: 12:34:56',
      'lmtp(…@chat.example.org)<5><x>: Error: 12:34:56',
    ],
    [
      'postfix/smtpd[3]: connect from localhost[127.0.0.1]',
      'postfix/smtpd[3]: connect from localhost[127.0.0.1]',
    ],
    [
      'postfix/master[1]: daemon started -- version 3.10.5',
      'postfix/master[1]: daemon started -- version 3.10.5',
    ],
    ['', ''],
  ])('%s', (line, kept) => {
    expect(anonymousLine(line)).toBe(kept);
  });

  test('lets no address of a client through, however it is set', () => {
    const address = fc.oneof(fc.ipV4(), fc.ipV6()).filter((text) => !/^(?:127\.|::1?$)/.test(text));
    const frame = fc.constantFrom(
      (ip: string) => `postfix/smtpd[1]: connect from unknown[${ip}]`,
      (ip: string) => `imap: rip=${ip}, x`,
      (ip: string) => `lost ${ip}`,
      (ip: string) => `from ${ip}: bad`,
    );
    fc.assert(
      fc.property(address, frame, (ip, set) => {
        fc.pre(isIP(ip) !== 0);
        expect(anonymousLine(set(ip))).not.toContain(ip);
      }),
    );
  });
});
