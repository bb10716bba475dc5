import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { decodeSyslinuxAdv, encodeSyslinuxAdv } from '../../../appliance/disk/syslinux-adv.ts';

describe('encodeSyslinuxAdv', () => {
  test('gives the bytes SYSLINUX was seen to write', () => {
    const empty = Buffer.from(encodeSyslinuxAdv({}));
    expect(empty.toString('hex', 0, 16)).toBe('a52f2d5a671704a30000000000000000');
    expect(empty.toString('hex', 508, 512)).toBe('64bf28dd');
    const once = Buffer.from(encodeSyslinuxAdv({ bootOnce: 'b' }));
    // 0xA3041767 − 0x00620101
    expect(once.toString('hex', 0, 12)).toBe('a52f2d5a6616a2a201016200');
    expect(once.subarray(0, 512).equals(once.subarray(512))).toBe(true);
  });

  test('refuses labels that do not fit', () => {
    expect(() => encodeSyslinuxAdv({ bootOnce: '' })).toThrow(RangeError);
    expect(() => encodeSyslinuxAdv({ bootOnce: 'x'.repeat(256) })).toThrow(RangeError);
  });
});

describe('decodeSyslinuxAdv', () => {
  test('reads back every label', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 255 }), (label) => {
        expect(decodeSyslinuxAdv(encodeSyslinuxAdv({ bootOnce: label }))).toEqual({ bootOnce: label });
      }),
    );
    expect(decodeSyslinuxAdv(encodeSyslinuxAdv({}))).toEqual({ bootOnce: undefined });
  });

  test('goes on with the second copy when the first is torn, and takes two torn ones as empty', () => {
    const bytes = Buffer.from(encodeSyslinuxAdv({ bootOnce: 'b' }));
    for (let offset = 0; offset < 512; offset++) {
      const torn = Buffer.from(bytes);
      torn.writeUInt8(torn.readUInt8(offset) ^ 0x20, offset);
      expect(decodeSyslinuxAdv(torn), `offset ${offset}`).toEqual({ bootOnce: 'b' });
      torn.writeUInt8(torn.readUInt8(512 + offset) ^ 0x20, 512 + offset);
      expect(decodeSyslinuxAdv(torn), `offset ${offset} twice`).toEqual({ bootOnce: undefined });
    }
  });

  test('passes over other tags, and refuses another size', () => {
    const bytes = new Uint8Array(encodeSyslinuxAdv({}));
    const view = new DataView(bytes.buffer);
    bytes.set([2, 1, 9, 1, 1, 98], 8);
    view.setUint32(4, (0xa304_1767 - (0x0109_0102 + 0x6201)) >>> 0, true);
    expect(decodeSyslinuxAdv(bytes)).toEqual({ bootOnce: 'b' });
    expect(() => decodeSyslinuxAdv(bytes.subarray(1))).toThrow(ProtocolError);
  });
});
