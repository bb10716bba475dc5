import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { planFat32 } from '../../../../builder/formats/fat/plan.ts';
import { planRootFile, readRootFile } from '../../../../builder/formats/fat/replace-file.ts';
import { writeFat32 } from '../../../../builder/formats/fat/write.ts';
import { bytesSource } from '../../../../builder/formats/random-access.ts';
import { bytesContent, type TreeEntry } from '../../../../builder/formats/tree.ts';
import { readVolume } from './read-volume.ts';

/** The fewest clusters FAT32 has, of the smallest size. */
const options = {
  sizeBytes: 34 * 1024 * 1024,
  clusterBytes: 512,
  volumeId: 1,
  label: 'BOOT',
  hiddenSectors: 0,
};
const own = { mode: 0o644, uid: 0, gid: 0, mtimeSec: 1_800_000_000 };

function fileEntry(path: string, sizeBytes: number): TreeEntry {
  const bytes = Buffer.alloc(sizeBytes, createHash('sha256').update(path).digest());
  return { ...own, path, kind: 'file', content: bytesContent(bytes) };
}

async function makeVolume(seedBytes: number): Promise<Buffer> {
  const image = Buffer.alloc(options.sizeBytes);
  const entries: TreeEntry[] = [
    { ...own, path: 'a', kind: 'directory' },
    fileEntry('a/vmlinuz', 20_000),
    // So that the directory has more than one cluster, with the seed in the second.
    ...Array.from({ length: 12 }, (_, index) => fileEntry(`A long name of a file, number ${index}`, 600)),
    fileEntry('chatmail.json', seedBytes),
    fileEntry('empty', 0),
    fileEntry('later.txt', 2000),
  ];
  const sink = {
    sizeBytes: image.length,
    writeAt: async (offset: number, bytes: Uint8Array) => image.set(bytes, offset),
  };
  await writeFat32(planFat32(entries, options), sink, new AbortController().signal);
  return image;
}

async function replace(image: Buffer, name: string, content: Uint8Array): Promise<Buffer> {
  const patches = await planRootFile(bytesSource(image), name, content);
  if (patches === undefined) throw new Error('no such file');
  const copy = Buffer.from(image);
  for (const { offsetBytes, bytes } of patches) copy.set(bytes, offsetBytes);
  return copy;
}

/** What a reader sees, but for the bytes of one file. */
const others = (image: Uint8Array, name: string) =>
  readVolume(image).entries.filter(({ path }) => path !== name);
const bytesOf = (image: Uint8Array, name: string) =>
  Buffer.from(readVolume(image).entries.find(({ path }) => path === name)?.bytes ?? []);

describe('planRootFile', () => {
  test.each([1, 300, 511, 512, 513, 1024, 5000, 100_000])(
    'gives a file of 700 bytes %i of them, and leaves all else',
    async (sizeBytes) => {
      const image = await makeVolume(700);
      const content = Buffer.alloc(sizeBytes, 'new content ');
      const changed = await replace(image, 'CHATMAIL.json', content);
      expect(bytesOf(changed, 'chatmail.json').equals(content)).toBe(true);
      expect(others(changed, 'chatmail.json')).toEqual(others(image, 'chatmail.json'));
      const needed = (bytes: number) => Math.ceil(bytes / 512);
      expect(readVolume(image).freeClusters - readVolume(changed).freeClusters).toBe(
        needed(sizeBytes) - needed(700),
      );
      // What no longer belongs to the file does not stay behind.
      expect(changed.includes(Buffer.alloc(64, createHash('sha256').update('chatmail.json').digest()))).toBe(
        false,
      );
      expect(await readRootFile(bytesSource(changed), 'chatmail.json', sizeBytes)).toEqual(
        Uint8Array.from(content),
      );
    },
  );

  test('fills an empty file, by its short name too', async () => {
    const image = await makeVolume(700);
    const changed = await replace(image, 'EMPTY', Buffer.from('no more'));
    expect(bytesOf(changed, 'empty').toString()).toBe('no more');
    expect(await readRootFile(bytesSource(image), 'CHATMA~1.JSO', 700)).toHaveLength(700);
  });

  test('finds nothing where there is nothing', async () => {
    const source = bytesSource(await makeVolume(1));
    for (const name of ['a', 'BOOT', 'vmlinuz', 'other.json']) {
      expect(await planRootFile(source, name, Buffer.from('x'))).toBeUndefined();
      expect(await readRootFile(source, name, 10)).toBeUndefined();
    }
  });

  test('refuses too much, and nothing', async () => {
    const source = bytesSource(await makeVolume(700));
    await expect(planRootFile(source, 'chatmail.json', Buffer.alloc(40_000_000))).rejects.toThrow('is full');
    await expect(planRootFile(source, 'chatmail.json', Buffer.alloc(0))).rejects.toThrow('become empty');
    await expect(readRootFile(source, 'chatmail.json', 699)).rejects.toThrow('more than 699');
  });

  test('never hangs or reads beyond a volume that is damaged', async () => {
    const image = await makeVolume(700);
    const head = image.readUInt16LE(14) * 512 + 2 * image.readUInt32LE(36) * 512 + 4096;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(head - 1), fc.nat(255)), { minLength: 1, maxLength: 30 }),
        fc.nat(89),
        fc.nat(255),
        async (changes, headerOffset, headerByte) => {
          const copy = Buffer.from(image);
          for (const [offset, byte] of changes) copy.writeUInt8(byte, offset);
          copy.writeUInt8(headerByte, headerOffset);
          try {
            await planRootFile(bytesSource(copy), 'chatmail.json', Buffer.from('x'));
          } catch (error) {
            expect(error).toBeInstanceOf(RangeError);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});
