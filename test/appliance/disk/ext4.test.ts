import { describe, expect, test } from 'vitest';
import { ext4NeedsRecovery, ext4SizeBytes, superblockBytes } from '../../../appliance/disk/ext4.ts';

function superblock(fields: {
  blocks: number;
  high?: number;
  log?: number;
  incompat?: number;
  magic?: number;
}) {
  const bytes = new Uint8Array(superblockBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0x04, fields.blocks, true);
  view.setUint32(0x18, fields.log ?? 2, true);
  view.setUint16(0x38, fields.magic ?? 0xef53, true);
  view.setUint32(0x60, fields.incompat ?? 0x2c2, true);
  view.setUint32(0x150, fields.high ?? 0, true);
  return bytes;
}

describe('ext4SizeBytes', () => {
  test('multiplies blocks by their size, the high half only with the 64bit feature', () => {
    expect(ext4SizeBytes(superblock({ blocks: 1000 }))).toBe(4_096_000);
    expect(ext4SizeBytes(superblock({ blocks: 1000, log: 0 }))).toBe(1_024_000);
    expect(ext4SizeBytes(superblock({ blocks: 0, high: 1 }))).toBe(2 ** 44);
    expect(ext4SizeBytes(superblock({ blocks: 1, high: 1, incompat: 0x42 }))).toBe(4096);
  });

  test('gives undefined for what is no superblock', () => {
    expect(ext4SizeBytes(superblock({ blocks: 1, magic: 0 }))).toBeUndefined();
    expect(ext4SizeBytes(superblock({ blocks: 1, log: 7 }))).toBeUndefined();
    const whole = superblock({ blocks: 1 });
    for (let length = 0; length < whole.length; length += 1) {
      expect(ext4SizeBytes(whole.subarray(0, length))).toBeUndefined();
    }
  });
});

describe('ext4NeedsRecovery', () => {
  test('tells a filesystem that was not unmounted from one that was, and from none', () => {
    expect(ext4NeedsRecovery(superblock({ blocks: 1, incompat: 0x2c6 }))).toBe(true);
    expect(ext4NeedsRecovery(superblock({ blocks: 1, incompat: 0x2c2 }))).toBe(false);
    expect(ext4NeedsRecovery(superblock({ blocks: 1, incompat: 0x2c6, magic: 0 }))).toBe(false);
  });
});
