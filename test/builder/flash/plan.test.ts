import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { GptPartition } from '../../../appliance/disk/gpt.ts';
import { type FlashImage, imageBlockBytes } from '../../../builder/flash/image.ts';
import { clearedBytes, planFlash, usedBytes } from '../../../builder/flash/plan.ts';
import { writeFat32 } from '../../../builder/formats/fat/write.ts';
import { type ImageSink, sinkWindow } from '../../../builder/formats/sparse-file.ts';
import { bytesContent } from '../../../builder/formats/tree.ts';
import { planBootPartition } from '../../../builder/image/boot-partition.ts';
import { planDisk } from '../../../builder/image/plan-disk.ts';
import { mebibyte } from './sample.ts';

const { signal } = new AbortController();

/** An image in memory: only blocks that were written take room. */
function memoryImage(sizeBytes: number, partitions: readonly GptPartition[]): FlashImage & ImageSink {
  const written = new Map<number, Buffer>();
  const zeros = Buffer.alloc(imageBlockBytes);
  return {
    path: 'memory',
    isCompressed: false,
    sizeBytes,
    table: { diskGuid: '', partitions },
    async writeAt(offsetBytes, bytes) {
      for (let at = 0; at < bytes.length;) {
        const within = (offsetBytes + at) % imageBlockBytes;
        const start = offsetBytes + at - within;
        const block = written.get(start) ?? Buffer.alloc(imageBlockBytes);
        written.set(start, block);
        const length = Math.min(imageBlockBytes - within, bytes.length - at);
        block.set(bytes.subarray(at, at + length), within);
        at += length;
      }
    },
    async *blocks() {
      for (let at = 0; at < sizeBytes; at += imageBlockBytes) yield written.get(at) ?? zeros;
    },
  };
}

describe('planFlash', () => {
  test('writes a file of zeros on BOOT, which is a hole of the image, and no free cluster behind it', async () => {
    const disk = planDisk('chat.example.org');
    const zerosBytes = 20 * mebibyte;
    const boot = planBootPartition(
      [
        {
          path: 'zeros',
          kind: 'file',
          mode: 0o644,
          uid: 0,
          gid: 0,
          mtimeSec: 0,
          content: bytesContent(Buffer.alloc(zerosBytes)),
        },
      ],
      disk,
    );
    const image = memoryImage(disk.sizeBytes, [disk.boot, disk.rootA, disk.rootB, disk.data]);
    await writeFat32(boot, sinkWindow(image, disk.boot.startBytes, disk.boot.sizeBytes), signal);
    await image.writeAt(0, randomBytes(512));
    await image.writeAt(disk.rootA.startBytes + 5 * mebibyte, randomBytes(512));
    const { blocks, imageBytes, writtenBytes } = await planFlash(image, signal);
    expect(imageBytes).toBe(disk.sizeBytes);
    const within = ({ startBytes, sizeBytes }: { startBytes: number; sizeBytes: number }) =>
      blocks
        .filter(({ offsetBytes }) => offsetBytes >= startBytes && offsetBytes < startBytes + sizeBytes)
        .map(({ offsetBytes }) => (offsetBytes - startBytes) / mebibyte);
    const upTo = (mib: number) => Array.from({ length: mib }, (_, index) => index);
    const bootBlocks = within(disk.boot);
    expect(bootBlocks).toEqual(upTo(bootBlocks.length));
    expect(bootBlocks.length).toBeGreaterThan(zerosBytes / mebibyte);
    expect(bootBlocks.length).toBeLessThan(zerosBytes / mebibyte + 3);
    // Not a squashfs: nobody knows where it ends, so nothing is left out.
    expect(within(disk.rootA)).toEqual(upTo(disk.rootA.sizeBytes / mebibyte));
    for (const partition of [disk.rootB, disk.data]) expect(within(partition)).toEqual(upTo(4));
    expect(blocks.at(-1)).toMatchObject({ offsetBytes: disk.sizeBytes - mebibyte });
    expect(writtenBytes).toBe(blocks.length * mebibyte);
  });
});

describe('usedBytes', () => {
  test('does not trust a filesystem that says something senseless', () => {
    const boot = Buffer.alloc(clearedBytes);
    boot.write('FAT32   ', 82, 'latin1');
    boot.writeUInt16LE(512, 11);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 60, maxLength: 60 }),
        fc.integer({ min: 0, max: 4096 }),
        (fields, length) => {
          const head = Buffer.from(boot.subarray(0, length));
          if (length > 80) head.set(fields.subarray(0, length - 13).subarray(0, 60), 13);
          expect(() => usedBytes(head)).not.toThrow();
        },
      ),
    );
  });
});
