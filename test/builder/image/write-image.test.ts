import { createHash } from 'node:crypto';
import { mkdtempDisposable, open, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { decodeGpt } from '../../../appliance/disk/gpt.ts';
import { planFat32 } from '../../../builder/formats/fat/plan.ts';
import { bytesContent, type Content, textContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import { openImage } from '../../../builder/flash/image.ts';
import { clearedBytes, planFlash } from '../../../builder/flash/plan.ts';
import { decodeBmap } from '../../../builder/formats/bmap.ts';
import { planBootPartition } from '../../../builder/image/boot-partition.ts';
import { planDisk } from '../../../builder/image/plan-disk.ts';
import { type ImageParts, writeImage } from '../../../builder/image/write-image.ts';

const disk = planDisk('chat.example.org');
const entries: TreeEntry[] = [
  {
    path: 'chatmail.json',
    kind: 'file',
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtimeSec: 0,
    content: textContent('{}'),
  },
];
const root = Buffer.alloc(3 * 1024 * 1024, 'root');
const parts: ImageParts = {
  mbrCode: Uint8Array.of(0xfa),
  boot: planBootPartition(entries, disk),
  root: bytesContent(root),
};
const { signal } = new AbortController();

/** Content that ends in an error after its first part. */
function failing(error: Error): Content {
  return {
    sizeBytes: 2_000_000,
    async *read() {
      yield Buffer.alloc(1_000_000, 1);
      throw error;
    },
  };
}

describe('writeImage', () => {
  test.skipIf(process.platform === 'win32')('is for its owner only where it holds secrets', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
    const path = join(scratch.path, 'relay.img');
    await writeFile(path, 'an older image, open to all', { mode: 0o644 });
    await writeImage(path, disk, { ...parts, holdsSecrets: true }, signal);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test('puts every part at its place, and leaves the rest empty', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
    const path = join(scratch.path, 'relay.img');
    await writeImage(path, disk, parts, signal);
    await using file = await open(path, 'r');
    const read = async (offset: number, length: number): Promise<Buffer> =>
      (await file.read(Buffer.alloc(length), 0, length, offset)).buffer;
    expect((await file.stat()).size).toBe(disk.sizeBytes);
    expect((await read(0, 1)).readUInt8()).toBe(0xfa);
    const backup = decodeGpt(await read(disk.sizeBytes - 33 * 512, 33 * 512), 'backup');
    expect(backup).toEqual(decodeGpt(await read(512, 33 * 512), 'primary'));
    expect(backup.partitions.map(({ name }) => name)).toEqual(['BOOT', 'ROOT-A', 'ROOT-B', 'DATA']);
    expect((await read(disk.boot.startBytes + 82, 5)).toString()).toBe('FAT32');
    expect((await read(disk.boot.startBytes + 28, 4)).readUInt32LE()).toBe(disk.boot.firstSector);
    expect((await read(disk.rootA.startBytes, root.length)).equals(root)).toBe(true);
    expect((await read(disk.data.startBytes, 4096)).equals(Buffer.alloc(4096))).toBe(true);
    expect(await readdir(scratch.path)).toEqual(['relay.img', 'relay.img.bmap']);
    if (process.platform !== 'win32') {
      expect((await stat(path)).blocks * 512).toBeLessThan(8 * 1024 * 1024);
    }
  });

  test('gives the same bytes twice', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
    const digests = new Set<string>();
    for (const name of ['one', 'two']) {
      await writeImage(join(scratch.path, name), disk, parts, signal);
      await using file = await open(join(scratch.path, name), 'r');
      // Both tables, and all of BOOT that is used.
      const { buffer } = await file.read(Buffer.alloc(4 * 1024 * 1024), 0, 4 * 1024 * 1024, 0);
      digests.add(createHash('sha256').update(buffer).digest('hex'));
    }
    expect(digests.size).toBe(1);
  });

  test.each([
    ['a source fails', { ...parts, root: failing(new Error('torn')) }, /torn/],
    [
      'a source is shorter than it said',
      { ...parts, root: { ...bytesContent(root), sizeBytes: root.length + 1 } },
      /said to have/,
    ],
    [
      'the root is too large',
      { ...parts, root: { ...bytesContent(root), sizeBytes: disk.rootA.sizeBytes + 1 } },
      /leave packages out/,
    ],
    [
      'BOOT is larger than its partition',
      {
        ...parts,
        boot: planFat32([], {
          sizeBytes: disk.boot.sizeBytes * 2,
          clusterBytes: 4096,
          volumeId: 1,
          label: 'BOOT',
          hiddenSectors: 2048,
        }),
      },
      /does not fit/,
    ],
  ] satisfies [string, ImageParts, RegExp][])('leaves what was there when %s', async (_, wrong, message) => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
    const path = join(scratch.path, 'relay.img');
    await writeFile(path, 'the old image');
    await expect(writeImage(path, disk, wrong, signal)).rejects.toThrow(message);
    expect(await readFile(path, 'utf8')).toBe('the old image');
    expect(await readdir(scratch.path)).toEqual(['relay.img']);
  });

  test('leaves nothing when it is aborted half-way', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
    const abort = new AbortController();
    const content: Content = {
      sizeBytes: 2_000_000,
      async *read() {
        yield Buffer.alloc(1_000_000, 1);
        abort.abort(new Error('enough'));
        yield Buffer.alloc(1_000_000, 1);
      },
    };
    const writing = writeImage(
      join(scratch.path, 'relay.img'),
      disk,
      { ...parts, root: content },
      abort.signal,
    );
    await expect(writing).rejects.toThrow('enough');
    expect(await readdir(scratch.path)).toEqual([]);
  });

  test('two at once leave one whole image, and what a killed one left an hour ago goes', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
    const path = join(scratch.path, 'relay.img');
    const [stale, fresh] = [`${path}.0123456789ab.partial`, `${path}.ba9876543210.partial`];
    await writeFile(stale, 'half');
    await writeFile(fresh, 'half');
    const longAgo = new Date(Date.now() - 2 * 3_600_000);
    await utimes(stale, longAgo, longAgo);
    await Promise.all([writeImage(path, disk, parts, signal), writeImage(path, disk, parts, signal)]);
    expect((await readdir(scratch.path)).sort()).toEqual(['relay.img', basename(fresh), 'relay.img.bmap']);
    await using file = await open(path, 'r');
    const { buffer } = await file.read(Buffer.alloc(root.length), 0, root.length, disk.rootA.startBytes);
    expect(buffer.equals(root)).toBe(true);
  });

  test.each(['zst', 'xz'] as const)(
    'compresses with %s: the same image, and no other form of it',
    async (ending) => {
      await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
      const path = join(scratch.path, 'relay.img');
      const plain = await writeImage(path, disk, parts, signal);
      const map = await readFile(plain.mapPath, 'utf8');
      const expected = await planFlash(await openImage(path, signal), signal);

      const { path: packed, compressedBytes = 0 } = await writeImage(path, disk, parts, signal, ending);
      expect((await readdir(scratch.path)).toSorted()).toEqual(['relay.img.bmap', `relay.img.${ending}`]);
      expect(packed).toBe(`${path}.${ending}`);
      expect((await stat(packed)).size).toBe(compressedBytes);
      expect(compressedBytes).toBeLessThan(4 * 1024 * 1024);
      expect(await readFile(plain.mapPath, 'utf8')).toBe(map);
      expect(await planFlash(await openImage(packed, signal), signal)).toEqual(expected);

      const first = await readFile(packed);
      await writeImage(path, disk, parts, signal, ending);
      expect((await readFile(packed)).equals(first)).toBe(true);
    },
  );

  test('the map lists what flash writes, also where the image is zero', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
    const path = join(scratch.path, 'relay.img');
    const { mapPath } = await writeImage(path, disk, parts, signal);
    const { ranges, blockBytes } = decodeBmap(await readFile(mapPath, 'utf8'));
    const covers = (offset: number) =>
      ranges.some(
        ({ firstBlock, lastBlock }) =>
          firstBlock <= Math.floor(offset / blockBytes) && Math.floor(offset / blockBytes) <= lastBlock,
      );
    for (const { startBytes } of [disk.boot, disk.rootA, disk.rootB, disk.data]) {
      expect(covers(startBytes)).toBe(true);
      expect(covers(startBytes + clearedBytes - 1)).toBe(true);
    }
    expect(covers(disk.sizeBytes - 1)).toBe(true);
    expect(covers(disk.rootB.startBytes + clearedBytes + 1024 * 1024)).toBe(false);
  });

  test.skipIf(process.platform === 'win32')(
    'a compressed image with secrets, and its map, are its owner’s alone',
    async () => {
      await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
      const path = join(scratch.path, 'relay.img');
      const written = await writeImage(path, disk, { ...parts, holdsSecrets: true }, signal, 'zst');
      for (const file of [written.path, written.mapPath]) {
        expect((await stat(file)).mode & 0o777).toBe(0o600);
      }
    },
  );

  test('a compression that fails leaves what was there', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
    const path = join(scratch.path, 'relay.img');
    await writeImage(path, disk, parts, signal, 'zst');
    const before = await readFile(`${path}.zst`);
    const abort = new AbortController();
    const rootOfAborting: Content = {
      sizeBytes: root.length,
      async *read() {
        yield root;
        setImmediate(() => abort.abort(new Error('enough')));
      },
    };
    const writing = writeImage(path, disk, { ...parts, root: rootOfAborting }, abort.signal, 'zst');
    await expect(writing).rejects.toThrow('enough');
    expect((await readdir(scratch.path)).toSorted()).toEqual(['relay.img.bmap', 'relay.img.zst']);
    expect((await readFile(`${path}.zst`)).equals(before)).toBe(true);
  });
});
