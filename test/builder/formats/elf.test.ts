import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { readElfSection } from '../../../builder/formats/elf.ts';
import { encodeElf } from '../../fakes/kernel-module.ts';

const file = encodeElf({
  '.text': Uint8Array.of(1, 2, 3),
  '.modinfo': Uint8Array.of(9, 8),
  '.empty': Uint8Array.of(),
});

describe('readElfSection', () => {
  test('finds a section by its name', () => {
    expect(readElfSection(file, '.modinfo')).toEqual(Uint8Array.of(9, 8));
    expect(readElfSection(file, '.empty')).toEqual(Uint8Array.of());
  });

  test('answers undefined for a name that is not there', () => {
    expect(readElfSection(file, '.mod')).toBeUndefined();
    expect(readElfSection(file, 'modinfo')).toBeUndefined();
  });

  test('refuses a file cut off at any offset', () => {
    for (let length = 0; length < file.length; length++) {
      expect(() => readElfSection(file.subarray(0, length), '.modinfo'), `${length} bytes`).toThrow(
        ProtocolError,
      );
    }
  });

  test('refuses a section that points beyond the file', () => {
    const bad = file.slice();
    const view = new DataView(bad.buffer);
    const second = Number(view.getBigUint64(40, true)) + 2 * 64;
    view.setBigUint64(second + 32, 2n ** 63n, true);
    expect(() => readElfSection(bad, '.modinfo')).toThrow('lies beyond the file');
  });

  test('refuses an absurd number of sections', () => {
    const bad = file.slice();
    new DataView(bad.buffer).setUint16(60, 0xffff, true);
    expect(() => readElfSection(bad, '.modinfo')).toThrow('65535 sections');
  });

  test('throws nothing but ProtocolError, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(file.length - 1), fc.nat(255)), { maxLength: 8 }), (edits) => {
        const bad = file.slice();
        for (const [offset, byte] of edits) bad[offset] = byte;
        try {
          readElfSection(bad, '.modinfo');
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
    );
  });
});
