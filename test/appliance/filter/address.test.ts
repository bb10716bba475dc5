import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { domainOf, parseAddress, parseFromField, sameMailbox } from '../../../appliance/filter/address.ts';

describe('parseFromField', () => {
  test.each([
    ['a@b.example', 'a@b.example'],
    [' <a@b.example>', 'a@b.example'],
    [' Alice <a@b.example>', 'a@b.example'],
    [' "Alice, the first <x@y.example>" <a@b.example>', 'a@b.example'],
    [' "quoted \\" quote" <a@b.example>', 'a@b.example'],
    [' =?utf-8?q?J=C3=B6rg?= <a@b.example>', 'a@b.example'],
    [' J\xc3\xb6rg <a@b.example>', 'a@b.example'],
    [' Alice\r\n <a@b.example>', 'a@b.example'],
    [' MAILER-DAEMON@b.example (Mail Delivery System)', 'MAILER-DAEMON@b.example'],
    [' Alice (nested (comment) \\) ) <a@b.example> (more)', 'a@b.example'],
    [' <a@[192.0.2.1]>', 'a@[192.0.2.1]'],
    [' a@[IPv6:2001:db8::1]', 'a@[IPv6:2001:db8::1]'],
  ])('reads %j', (value, address) => {
    expect(parseFromField(value)?.text).toBe(address);
  });

  test.each([
    '',
    ' ',
    ' Alice',
    ' <>',
    ' <a@b.example',
    ' a@b.example, c@d.example',
    ' <a@b.example>, <c@d.example>',
    ' <a@b.example> <c@d.example>',
    ' c@d.example <a@b.example>',
    ' <a@b.example> c@d.example',
    ' group: a@b.example;',
    ' <@c.example:a@b.example>',
    ' "a b"@b.example',
    ' a@b@c.example',
    ' a @b.example',
    ' a@b.example\0',
    ' \0<a@b.example>',
    ' "unfinished <a@b.example>',
    ' (unfinished <a@b.example>',
    ' a..b@c.example',
    ' .a@c.example',
    ' \xe4@b.example',
    ` ${'a'.repeat(400)}@b.example`,
  ])('refuses %j', (value) => {
    expect(parseFromField(value)).toBeNull();
  });

  test.each(['(', '"', '<', ' ', '(a)', '"a" ', ',', '\\', 'a', '\r\n '])(
    '250 KB of %j is no burden',
    (piece) => {
      const start = performance.now();
      parseFromField(piece.repeat(250_000 / piece.length));
      parseFromField(`${piece.repeat(250_000 / piece.length)}<a@b.example>`);
      expect(performance.now() - start).toBeLessThan(1000);
    },
  );

  test('finds the one address whatever harmless name stands before it', () => {
    const name = fc.string({ unit: fc.constantFrom('a', ' ', '.', "'", '!', '\xc3'), maxLength: 30 });
    fc.assert(fc.property(name, (text) => parseFromField(` ${text} <a@b.example>`)?.text === 'a@b.example'));
  });

  test('never throws, and what it returns stands in the field', () => {
    const soup = fc.string({
      unit: fc.constantFrom('a', '@', '<', '>', '"', '(', ')', '\\', ',', ' ', '\r\n', '.', ':'),
      maxLength: 60,
    });
    fc.assert(
      fc.property(soup, (value) => {
        const address = parseFromField(value);
        return address === null || value.replace(/\r\n/g, '').includes(address.localpart);
      }),
    );
  });
});

describe('domainOf', () => {
  test.each([
    ['a@Chat.Example.org', { kind: 'name', name: 'chat.example.org', unicode: 'chat.example.org' }],
    ['a@[192.0.2.1]', { kind: 'ip', family: 4, address: '192.0.2.1' }],
    ['a@[IPv6:2001:DB8:0::1]', { kind: 'ip', family: 6, address: '2001:db8::1' }],
    ['a@192.0.2.1', null],
    ['a@localhost', null],
    ['a@[nonsense]', null],
  ])('of %s', (text, domain) => {
    const address = parseAddress(text);
    expect(address === null ? null : domainOf(address)).toEqual(domain);
  });
});

describe('sameMailbox', () => {
  test.each([
    ['a@b.example', 'A@B.EXAMPLE', true],
    ['a@[IPv6:2001:db8::1]', 'a@[IPv6:2001:DB8:0:0::1]', true],
    ['a@[192.0.2.1]', 'a@[192.0.2.1]', true],
    ['a@[192.0.2.1]', 'a@[192.0.2.2]', false],
    ['a@b.example', 'b@b.example', false],
    ['a@b.example', 'a@c.example', false],
    ['a@sub.b.example', 'a@b.example', false],
  ])('%s and %s: %s', (one, other, same) => {
    const [first, second] = [parseAddress(one), parseAddress(other)];
    if (first === null || second === null) throw new Error('Not addresses');
    expect(sameMailbox(first, second)).toBe(same);
  });
});
