import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addressBytes, ClientCounter, clientKey, unmapped } from '../../../appliance/base/client-address.ts';

describe('addressBytes', () => {
  test.each([
    ['192.0.2.1', 'c0000201'],
    ['::ffff:192.0.2.1', 'c0000201'],
    ['::', '0'.repeat(32)],
    ['::1', `${'0'.repeat(31)}1`],
    ['2001:db8::5:6', '20010db8000000000000000000050006'],
    ['fe80::1%eth0', `fe80${'0'.repeat(27)}1`],
    ['64:ff9b::192.0.2.1', '0064ff9b0000000000000000c0000201'],
  ])('of %s', (address, hex) => {
    expect(Buffer.from(addressBytes(address)).toString('hex')).toBe(hex);
  });

  test('of what is no address are none', () => {
    expect(() => addressBytes('example.org')).toThrow(RangeError);
  });
});

describe('clientKey', () => {
  test('is one for all addresses of a /64, however they are written, and another for the next one', () => {
    const address = fc.array(fc.nat(0xffff), { minLength: 8, maxLength: 8 });
    const text = (words: readonly number[]) => words.map((word) => word.toString(16)).join(':');
    fc.assert(
      fc.property(address, address, (one, other) => {
        fc.pre(!text(one).startsWith('0:0:0:0:0:ffff:'));
        const same = [...one.slice(0, 4), ...other.slice(4)];
        fc.pre(!text(same).startsWith('0:0:0:0:0:ffff:'));
        expect(clientKey(text(same))).toBe(clientKey(text(one)));
        const next = [...one.slice(0, 3), (one[3] ?? 0) ^ 1, ...one.slice(4)];
        expect(clientKey(text(next))).not.toBe(clientKey(text(one)));
      }),
    );
    expect(clientKey('2001:db8:1::5')).toBe(clientKey('2001:db8:1:0:5:6:7:8'));
  });

  test('is an IPv4 address itself, mapped or not', () => {
    expect(clientKey('::ffff:192.0.2.1')).toBe('192.0.2.1');
    expect(clientKey('192.0.2.2')).toBe('192.0.2.2');
    expect(unmapped('::FFFF:192.0.2.1')).toBe('192.0.2.1');
  });
});

describe('ClientCounter', () => {
  test('lets each client have so many, and forgets those who have none', () => {
    const counter = new ClientCounter(2);
    expect([counter.tryEnter('a'), counter.tryEnter('a'), counter.tryEnter('a')]).toEqual([
      true,
      true,
      false,
    ]);
    expect(counter.tryEnter('b')).toBe(true);
    counter.leave('a');
    expect([counter.tryEnter('a'), counter.tryEnter('a')]).toEqual([true, false]);
  });
});
