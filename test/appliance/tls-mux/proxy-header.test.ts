import { describe, expect, test } from 'vitest';
import { encodeProxyHeader } from '../../../appliance/tls-mux/proxy-header.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const signature = '0d0a0d0a000d0a515549540a';

describe('encodeProxyHeader', () => {
  test('writes TCP over IPv4 as proxy-protocol.txt lays it out', () => {
    const header = encodeProxyHeader(
      { address: '203.0.113.7', port: 50_000 },
      { address: '192.0.2.1', port: 443 },
    );
    expect(hex(header)).toBe(`${signature}2111000ccb007107c0000201c35001bb`);
  });

  test('takes an IPv4 address out of the mapping of a dual-stack socket', () => {
    const plain = encodeProxyHeader({ address: '203.0.113.7', port: 1 }, { address: '192.0.2.1', port: 2 });
    const mapped = encodeProxyHeader(
      { address: '::ffff:203.0.113.7', port: 1 },
      { address: '::FFFF:192.0.2.1', port: 2 },
    );
    expect(hex(mapped)).toBe(hex(plain));
  });

  test.each([
    ['2001:db8::1', '20010db8000000000000000000000001'],
    ['::', '0'.repeat(32)],
    ['::1', `${'0'.repeat(31)}1`],
    ['fe80::1%eth0', 'fe800000000000000000000000000001'],
    ['1:2:3:4:5:6:7:8', '00010002000300040005000600070008'],
  ])('writes the IPv6 address %s', (address, bytes) => {
    const header = encodeProxyHeader({ address, port: 1 }, { address: '::2', port: 2 });
    expect(hex(header)).toBe(`${signature}21210024${bytes}${'0'.repeat(31)}2${'00010002'}`);
  });

  test('refuses two families in one connection', () => {
    expect(() => encodeProxyHeader({ address: '::1', port: 1 }, { address: '127.0.0.1', port: 2 })).toThrow(
      RangeError,
    );
  });
});
