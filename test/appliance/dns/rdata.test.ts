import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { txtValue } from '../../../appliance/contract/dns-records.ts';
import { decodeName, encodeName, isWithin, normaliseName, withParents } from '../../../appliance/dns/name.ts';
import { txtText } from '../../../appliance/dns/presentation.ts';
import {
  canonicalValue,
  canonicalValues,
  decodeRdata,
  encodeRdata,
  typeName,
  typeNumber,
} from '../../../appliance/dns/rdata.ts';

describe('names', () => {
  test('are read in any case, with or without the final dot, and with escapes', () => {
    expect(normaliseName('Chat.Example.ORG.')).toBe('chat.example.org');
    expect(normaliseName('a\\.b.example.org')).toBe('a\\.b.example.org');
    expect(normaliseName('a\\009b.org')).toBe('a\\009b.org');
    expect(normaliseName('.')).toBe('');
  });

  test('that are too long or broken are refused', () => {
    for (const bad of [
      'a..b',
      '.a',
      `${'x'.repeat(64)}.org`,
      `${'abc.'.repeat(64)}org`,
      'a b.org',
      'ü.org',
      'a\\999.org',
    ]) {
      expect(() => encodeName(bad)).toThrow(RangeError);
    }
    expect(encodeName(`${'a.'.repeat(126)}b`)).toHaveLength(255);
  });

  test('any labels survive the wire', () => {
    const label = fc.uint8Array({ minLength: 1, maxLength: 63 });
    fc.assert(
      fc.property(fc.array(label, { maxLength: 3 }), (labels) => {
        const wire = Buffer.concat([
          ...labels.flatMap((one) => [Uint8Array.of(one.length), one]),
          Uint8Array.of(0),
        ]);
        const { name, end } = decodeName(wire, 0);
        expect(end).toBe(wire.length);
        const lower = wire.map((byte) => (byte >= 0x41 && byte <= 0x5a ? byte + 32 : byte));
        const again = encodeName(name);
        // A length byte may look like a letter too; only sizes and text must agree.
        expect(decodeName(again, 0).name).toBe(name);
        expect(again).toHaveLength(lower.length);
      }),
    );
  });

  test('compression may only point back', () => {
    const bytes = Uint8Array.from([3, 0x6f, 0x72, 0x67, 0, 1, 0x61, 0xc0, 0]);
    expect(decodeName(bytes, 5)).toEqual({ name: 'a.org', end: 9 });
    for (const loop of [
      [0xc0, 0],
      [0xc0, 2, 0xc0, 0],
      [1, 0x61, 0xc0, 0],
    ]) {
      expect(() => decodeName(Uint8Array.from(loop), 0)).toThrow(ProtocolError);
    }
    expect(() => decodeName(Uint8Array.from([0x40, 0]), 0)).toThrow('label type');
  });

  test('know their zone and parents', () => {
    expect(isWithin('a.example.org', 'example.org')).toBe(true);
    expect(isWithin('example.org', 'example.org')).toBe(true);
    expect(isWithin('badexample.org', 'example.org')).toBe(false);
    expect(withParents('a.b.example.org')).toEqual(['a.b.example.org', 'b.example.org', 'example.org']);
  });
});

describe('canonicalValue', () => {
  test.each([
    ['A', ' 192.0.2.1 ', '192.0.2.1'],
    ['AAAA', '2001:DB8:0:0::1', '2001:db8::1'],
    ['AAAA', '::ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['MX', '010  Chat.Example.ORG', '10 chat.example.org.'],
    ['MX', '0 .', '0 .'],
    ['CNAME', 'Chat.Example.org.', 'chat.example.org.'],
    ['SRV', '0 1 993 Chat.example.org', '0 1 993 chat.example.org.'],
    ['CAA', '0 ISSUE letsencrypt.org', '0 issue "letsencrypt.org"'],
    ['CAA', '0 issue "ca.example; policy=ev"', '0 issue "ca.example; policy=ev"'],
    ['TLSA', '3 1 1 ABCD EF01', '3 1 1 abcdef01'],
    ['TXT', 'v=spf1', '"v=spf1"'],
    ['TXT', '"ab" "cd"  "ef"', '"abcdef"'],
    ['TXT', '"semi; colon \\"quoted\\" \\\\ \\065"', '"semi; colon \\"quoted\\" \\\\ A"'],
    ['TXT', '"\\255\\254"', '"\\255\\254"'],
    ['NS', 'NS1.example.org', 'ns1.example.org.'],
    ['HTTPS', '1 .   alpn=h2', '1 . alpn=h2'],
  ])('%s %s is %s', (type, value, canonical) => {
    expect(canonicalValue(type, value)).toBe(canonical);
    expect(canonicalValue(type, canonical)).toBe(canonical);
  });

  test.each([
    ['A', '192.0.2'],
    ['A', '2001:db8::1'],
    ['AAAA', '192.0.2.1'],
    ['AAAA', 'fe80::1%eth0'],
    ['MX', 'mail.example.org'],
    ['MX', '70000 mail.example.org'],
    ['SRV', '0 1 chat.example.org'],
    ['CAA', '0 is-sue "x"'],
    ['TLSA', '3 1 1 xyz'],
    ['TXT', '"open'],
  ])('%s %s is refused', (type, value) => {
    expect(() => canonicalValue(type, value)).toThrow(RangeError);
  });

  test('a DKIM key is the same however it is split', () => {
    const text = `v=DKIM1;k=rsa;p=${'A'.repeat(392)};s=email;t=s`;
    for (const size of [1, 100, 200, 254, 255]) {
      const parts = text.match(new RegExp(`.{1,${size}}`, 'g')) ?? [];
      const split = parts.map((part) => `"${part}"`).join(' ');
      expect(canonicalValue('TXT', split)).toBe(txtValue(text));
      expect(txtText(split)).toBe(text);
    }
  });

  test('the values of a set have no order and no doubles', () => {
    expect(canonicalValues('A', ['192.0.2.2', '192.0.2.1', '192.0.2.2 '])).toEqual([
      '192.0.2.1',
      '192.0.2.2',
    ]);
  });
});

describe('RDATA on the wire', () => {
  test('any text survives', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 900, unit: 'binary' }), (text) => {
        const wire = encodeRdata('TXT', txtValue(text));
        expect(txtText(decodeRdata(typeNumber('TXT'), wire, 0, wire.length))).toBe(
          Buffer.from(text).toString('utf8'),
        );
      }),
    );
  });

  test('cut off anywhere, it is refused or shorter, and never read beyond its end', () => {
    const values: Record<string, string> = {
      A: '192.0.2.1',
      AAAA: '2001:db8::1',
      MX: '10 chat.example.org.',
      SRV: '0 1 993 chat.example.org.',
      TLSA: '3 1 1 abcd',
      CAA: '0 issue "letsencrypt.org"',
      SOA: 'ns.example.org. host.example.org. 1 2 3 4 5',
      CNAME: 'chat.example.org.',
    };
    for (const [type, value] of Object.entries(values)) {
      const wire = encodeRdata(type, value);
      expect(decodeRdata(typeNumber(type), wire, 0, wire.length)).toBe(value);
      for (let length = 0; length < wire.length; length++) {
        let decoded: string | null;
        try {
          decoded = decodeRdata(typeNumber(type), wire, 0, length);
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
          decoded = null;
        }
        expect(decoded).not.toBe(value);
      }
    }
  });

  test('unknown types are carried as bytes', () => {
    const wire = encodeRdata('TYPE4711', '\\# 3 0a0b0c');
    expect(decodeRdata(4711, wire, 0, 3)).toBe('\\# 3 0a0b0c');
    expect(typeName(4711)).toBe('TYPE4711');
    expect(() => encodeRdata('TYPE4711', '\\# 4 0a0b0c')).toThrow(RangeError);
    expect(() => typeNumber('NOSUCH')).toThrow(RangeError);
  });
});
