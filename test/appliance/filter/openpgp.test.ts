import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isEncryptedArmor, PacketWalker } from '../../../appliance/filter/openpgp.ts';
import {
  armor,
  newPacket,
  oldPacket,
  openpgpArmor,
  partialPacket,
  plausiblePackets,
} from '../../fixtures/filter/messages.ts';

const sessionKey = newPacket(1, Buffer.alloc(94, 1), 1);
const data = Buffer.alloc(800, 7);

function accepts(text: string, allowVersionHeader = false): boolean {
  return isEncryptedArmor(Buffer.from(text, 'latin1'), { allowVersionHeader });
}

describe('isEncryptedArmor', () => {
  test.each(['to a key', 'to a password', 'to a key and a password', 'AEAD (version 2)', 'large'] as const)(
    'takes what OpenPGP.js encrypts %s',
    async (kind) => {
      expect(accepts(await openpgpArmor(kind))).toBe(true);
    },
  );

  test.each([
    ['a session key and encrypted data', plausiblePackets],
    ['encrypted data alone', newPacket(18, data)],
    ['a password session key', Buffer.concat([newPacket(3, Buffer.alloc(30), 1), newPacket(18, data)])],
    [
      'forty recipients',
      Buffer.concat([...Array.from({ length: 40 }, () => sessionKey), newPacket(18, data)]),
    ],
    ['two-octet lengths', Buffer.concat([newPacket(1, Buffer.alloc(500), 2), newPacket(18, data, 2)])],
    ['old format, one octet', Buffer.concat([oldPacket(1, Buffer.alloc(90), 1), newPacket(18, data)])],
    ['old format, two octets', Buffer.concat([oldPacket(3, Buffer.alloc(300), 2), newPacket(18, data)])],
    ['old format, four octets', Buffer.concat([oldPacket(1, Buffer.alloc(300), 4), newPacket(18, data)])],
    ['partial lengths', Buffer.concat([sessionKey, partialPacket(18, Buffer.alloc(5000), 9)])],
    [
      'a partial packet that ends with length 0',
      Buffer.concat([sessionKey, partialPacket(18, Buffer.alloc(1024), 9)]),
    ],
    ['encrypted data of 200 KB', Buffer.concat([sessionKey, newPacket(18, Buffer.alloc(200_000))])],
  ])('takes %s', (_, packets) => {
    expect(accepts(armor(packets))).toBe(true);
  });

  test.each([
    ['a literal packet', newPacket(11, Buffer.from('b\0\0\0\0\0Hello world'), 1)],
    ['a literal packet after a session key', Buffer.concat([sessionKey, newPacket(11, data)])],
    ['compressed data', newPacket(8, data)],
    ['a signature', newPacket(2, data)],
    ['encrypted data without integrity protection', Buffer.concat([sessionKey, newPacket(9, data)])],
    ['session keys alone', sessionKey],
    ['no packet', Buffer.alloc(0)],
    ['a byte after the encrypted data', Buffer.concat([plausiblePackets, Buffer.from([0])])],
    ['a packet after the encrypted data', Buffer.concat([plausiblePackets, newPacket(18, data)])],
    ['encrypted data cut short', plausiblePackets.subarray(0, -1)],
    ['a tag without its highest bit', Buffer.concat([sessionKey, Buffer.from([0x52, 1, 1])])],
    ['an indeterminate length', Buffer.concat([sessionKey, oldPacket(1, data, 0)])],
    ['a session key in partial lengths', Buffer.concat([partialPacket(1, data, 9), newPacket(18, data)])],
    [
      'a partial packet without an end',
      Buffer.concat([sessionKey, partialPacket(18, data, 9).subarray(0, 514)]),
    ],
  ])('refuses %s', (_, packets) => {
    expect(accepts(armor(packets))).toBe(false);
  });

  test('a Version header is for others to send, and only that one header', () => {
    const versioned = armor(plausiblePackets, { headers: ['Version: OpenPGP.js v6'] });
    expect(accepts(versioned, true)).toBe(true);
    expect(accepts(versioned, false)).toBe(false);
    expect(accepts(armor(plausiblePackets, { headers: ['Comment: hello, how are you'] }), true)).toBe(false);
    expect(accepts(armor(plausiblePackets, { headers: ['Version: a', 'Version: b'] }), true)).toBe(false);
  });

  test('takes an armor with its checksum, which is not checked', () => {
    expect(accepts(armor(plausiblePackets, { checksum: 'agR5' }))).toBe(true);
    expect(accepts(armor(plausiblePackets, { checksum: 'agR' }))).toBe(false);
    expect(accepts(armor(plausiblePackets, { checksum: 'a!R5' }))).toBe(false);
  });

  const good = armor(plausiblePackets);
  test.each([
    ['text before', `Hello\r\n${good}`],
    ['text after', `${good}Hello\r\n`],
    ['another armor', good.replaceAll('PGP MESSAGE', 'PGP SIGNED MESSAGE')],
    ['bare line feeds', good.replaceAll('\r\n', '\n')],
    ['an end line in the middle of a line', good.replace('\r\n-----END', '-----END')],
    ['text among the base64', good.replace('\r\n\r\n', '\r\n\r\nHow are you?\r\n')],
    ['spaces in the base64', good.replace('\r\n\r\n', '\r\n\r\n ')],
    ['base64 of the URL alphabet', good.replace('WlpaWlpa', 'WlpaWl-_')],
    ['padding in the middle', good.replace('WlpaWlpa', 'Wlpa====')],
    ['one base64 character too many', good.replace('\r\n-----END', 'A\r\n-----END')],
    ['only the frame', '-----BEGIN PGP MESSAGE-----\r\n\r\n-----END PGP MESSAGE-----\r\n'],
    ['the begin line alone', '-----BEGIN PGP MESSAGE-----\r\n'],
    ['nothing', ''],
  ])('refuses %s', (_, text) => {
    expect(accepts(text, true)).toBe(false);
  });

  test('refuses padding bits that are not zero: a second spelling of the same bytes', () => {
    const packets = newPacket(18, Buffer.alloc(11), 1);
    const spelled = armor(packets);
    expect(packets.length % 3).toBe(1);
    expect(accepts(spelled)).toBe(true);
    expect(accepts(spelled.replace('AA==', 'AB=='))).toBe(false);
  });

  test('a truncation anywhere is refused', () => {
    const whole = good.trimEnd();
    for (let end = 0; end < whole.length; end++) expect(accepts(whole.slice(0, end))).toBe(false);
  });

  test('never throws, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, framed) => {
        const text = framed ? armor(bytes) : Buffer.from(bytes).toString('latin1');
        return typeof accepts(text, true) === 'boolean';
      }),
    );
  });

  test('takes lines of any length, even of one character', () => {
    const packets = Buffer.concat([sessionKey, newPacket(18, Buffer.alloc(70_000, 0x3c))]);
    const base64 = packets.toString('base64');
    for (const length of [1, 2, 3, 5, 63, 64, 65, 76, 1000, 200_000]) {
      const all = base64.match(new RegExp(`.{1,${length}}`, 'g'))?.join('\r\n') ?? '';
      const text = `-----BEGIN PGP MESSAGE-----\r\n\r\n${all}\r\n-----END PGP MESSAGE-----\r\n`;
      expect([length, accepts(text)]).toEqual([length, true]);
      expect([length, accepts(text.replace('PDw8', 'PDw!'))]).toEqual([length, length < 4]);
    }
  });

  test('takes random session keys and data of any length', () => {
    const sessionKeys = fc.array(fc.tuple(fc.constantFrom(1, 3), fc.uint8Array({ maxLength: 191 })), {
      maxLength: 5,
    });
    fc.assert(
      fc.property(sessionKeys, fc.uint8Array({ maxLength: 2000 }), (keys, content) =>
        accepts(
          armor(
            Buffer.concat([...keys.map(([type, body]) => newPacket(type, body, 1)), newPacket(18, content)]),
          ),
        ),
      ),
    );
  });
});

describe('PacketWalker', () => {
  test('says the same byte by byte as at once', () => {
    for (const packets of [
      plausiblePackets,
      Buffer.concat([sessionKey, partialPacket(18, Buffer.alloc(5000), 9)]),
      Buffer.concat([oldPacket(1, Buffer.alloc(300), 2), newPacket(18, data)]),
    ]) {
      const walker = new PacketWalker();
      for (const [at, byte] of packets.entries()) {
        expect(walker.complete).toBe(false);
        expect(walker.push(Uint8Array.of(byte))).toBe(true);
        expect(walker.complete).toBe(at === packets.length - 1);
      }
    }
  });

  test('once refused, it stays refused', () => {
    const walker = new PacketWalker();
    expect(walker.push(newPacket(11, data))).toBe(false);
    expect(walker.push(plausiblePackets)).toBe(false);
    expect(walker.complete).toBe(false);
  });
});
