import { describe, expect, test } from 'vitest';
import { encodeHybridMbr, encodeProtectiveMbr } from '../../../builder/formats/mbr.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('encodeProtectiveMbr', () => {
  test('gives the bytes sfdisk gives for 64 MiB', () => {
    const bytes = encodeProtectiveMbr({ diskSizeBytes: 64 * 1024 * 1024 });
    expect(hex(bytes.subarray(0, 446))).toBe('00'.repeat(446));
    expect(hex(bytes.subarray(446))).toBe(`00000200eeffffff01000000ffff0100${'00'.repeat(48)}55aa`);
  });

  test('covers all that 32 bits can of a larger disk', () => {
    const bytes = encodeProtectiveMbr({ diskSizeBytes: 3 * 1024 ** 4 });
    expect(hex(bytes.subarray(446, 462))).toBe('00000200eeffffff01000000ffffffff');
  });
});

describe('encodeHybridMbr', () => {
  test('shows the FAT partition, active, and protects what is before it', () => {
    const bytes = encodeHybridMbr({
      bootCode: Uint8Array.of(0xfa, 0xf4),
      diskSignature: 0x12345678,
      fat32: { firstSector: 2048, sectorCount: 589_824 },
    });
    expect(hex(bytes.subarray(0, 4))).toBe('faf40000');
    expect(hex(bytes.subarray(440, 446))).toBe('785634120000');
    expect(hex(bytes.subarray(446, 462))).toBe('80feffff0cfeffff0008000000000900');
    expect(hex(bytes.subarray(462, 478))).toBe('00000200eeffffff01000000ff070000');
    expect(hex(bytes.subarray(478))).toBe(`${'00'.repeat(32)}55aa`);
  });

  test('refuses boot code over the signature, and a partition beyond 2 TiB', () => {
    const fat32 = { firstSector: 2048, sectorCount: 2048 };
    expect(() => encodeHybridMbr({ bootCode: new Uint8Array(441), fat32 })).toThrow(/441 bytes/);
    expect(() => encodeHybridMbr({ fat32: { ...fat32, firstSector: 2 ** 32 } })).toThrow(RangeError);
    expect(() => encodeHybridMbr({ fat32: { ...fat32, firstSector: 1 } })).toThrow(RangeError);
  });
});
