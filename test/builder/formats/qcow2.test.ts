import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeQcow2Overlay, maxOverlayBytes } from '../../../builder/formats/qcow2.ts';

const gibibyte = 1024 ** 3;

describe('encodeQcow2Overlay', () => {
  test('writes a version 3 header that names the backing file and its format', () => {
    const file = Buffer.from(
      encodeQcow2Overlay({ backingFile: '/images/ä b.img', virtualSizeBytes: 5 * gibibyte }),
    );
    expect(file.subarray(0, 8).toString('hex')).toBe('514649fb00000003');
    const nameOffset = Number(file.readBigUInt64BE(8));
    expect(file.subarray(nameOffset, nameOffset + file.readUInt32BE(16)).toString()).toBe('/images/ä b.img');
    expect(file.readBigUInt64BE(24)).toBe(BigInt(5 * gibibyte));
    // One entry for each 512 MiB.
    expect(file.readUInt32BE(36)).toBe(10);
    expect(file.subarray(104, 128).toString('hex')).toBe(
      'e2792aca000000037261770000000000' + '0000000000000000',
    );
    expect(file.length).toBe(4 * 65_536);
  });

  test('is the same every time', () => {
    const overlay = { backingFile: '/a.img', virtualSizeBytes: gibibyte };
    expect(Buffer.from(encodeQcow2Overlay(overlay)).equals(encodeQcow2Overlay(overlay))).toBe(true);
  });

  test('every size of whole sectors has L1 entries for all of it, in one cluster', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: maxOverlayBytes / 512 }), (sectors) => {
        const file = Buffer.from(encodeQcow2Overlay({ backingFile: '/a', virtualSizeBytes: sectors * 512 }));
        const entries = file.readUInt32BE(36);
        expect(entries * 512 * 1024 * 1024).toBeGreaterThanOrEqual(sectors * 512);
        expect(entries * 8).toBeLessThanOrEqual(65_536);
      }),
      { numRuns: 20 },
    );
  });

  test.each([0, 511, -512, 512.5, maxOverlayBytes + 512])(
    'refuses a disk of %d bytes',
    (virtualSizeBytes) => {
      expect(() => encodeQcow2Overlay({ backingFile: '/a', virtualSizeBytes })).toThrow(RangeError);
    },
  );

  test('refuses a path longer than the format takes', () => {
    expect(() => encodeQcow2Overlay({ backingFile: `/${'a'.repeat(1023)}`, virtualSizeBytes: 512 })).toThrow(
      '1023',
    );
    expect(() =>
      encodeQcow2Overlay({ backingFile: `/${'a'.repeat(1022)}`, virtualSizeBytes: 512 }),
    ).not.toThrow();
  });
});
