import { mkdtempDisposable, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type SquashfsOptions, writeSquashfs } from '../../../../builder/formats/squashfs/write.ts';
import { bytesContent, textContent, type TreeEntry } from '../../../../builder/formats/tree.ts';
import { crowd, directory, everything, file, noise, prose } from './trees.ts';

async function write(entries: Iterable<TreeEntry>, options?: SquashfsOptions) {
  await using temporary = await mkdtempDisposable(join(tmpdir(), 'squashfs-'));
  const path = join(temporary.path, 'image');
  const result = await writeSquashfs(entries, path, { level: 3, ...options });
  return { ...result, bytes: await readFile(path) };
}

describe('writeSquashfs', () => {
  test('the same tree gives the same bytes, in any order and with any number of workers', async () => {
    const tree = [...everything, ...crowd(2000)];
    const first = await write(tree, { workers: 1 });
    for (const workers of [2, 7]) {
      const again = await write(tree.toReversed(), { workers });
      expect(again.bytes.equals(first.bytes)).toBe(true);
      expect(again.sha256).toBe(first.sha256);
    }
  });

  test('content that comes in chunks of any size gives the same bytes', async () => {
    const bytes = prose(500_000);
    const inChunks = (chunkBytes: number) => ({
      sizeBytes: bytes.length,
      async *read() {
        for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
      },
    });
    const whole = await write([file('a', bytesContent(bytes)), file('b', inChunks(999))]);
    for (const chunkBytes of [7777, 131_071, 131_072, 131_073]) {
      const again = await write([file('a', inChunks(chunkBytes)), file('b', inChunks(50_000))]);
      expect(again.sha256).toBe(whole.sha256);
    }
  });

  test('the superblock says what is inside', async () => {
    const { bytes, sizeBytes } = await write([directory('d'), file('d/f', textContent('x'))], {
      level: 15,
      blockBytes: 65_536,
    });
    expect(sizeBytes).toBe(bytes.length);
    expect(sizeBytes % 4096).toBe(0);
    expect(bytes.toString('latin1', 0, 4)).toBe('hsqs');
    // inodes, time of the newest entry, block size, fragments
    expect([4, 8, 12, 16].map((at) => bytes.readUInt32LE(at))).toEqual([3, 1_600_000_000, 65_536, 1]);
    // zstd, block log, flags (fragments always, duplicates, export table, no attributes), ids, version
    expect([20, 22, 24, 26, 28, 30].map((at) => bytes.readUInt16LE(at))).toEqual([
      6, 16, 0b10_1110_0000, 1, 4, 0,
    ]);
    const tables = [64, 72, 80, 88, 48, 40].map((at) => Number(bytes.readBigUInt64LE(at)));
    expect(tables).toEqual(tables.toSorted((one, other) => one - other));
    expect(bytes.readBigUInt64LE(56)).toBe(0xffffffffffffffffn);
  });

  test('a level other than the default is recorded behind the superblock', async () => {
    const { bytes } = await write([], { level: 19 });
    expect(bytes.readUInt16LE(24) & (1 << 10)).not.toBe(0);
    expect(bytes.subarray(96, 102)).toEqual(Buffer.from([4, 0x80, 19, 0, 0, 0]));
  });

  test('files with the same bytes are stored once, and only read as often as that needs', async () => {
    let reads = 0;
    const counted = (bytes: Uint8Array, digest?: string) => ({
      sizeBytes: bytes.length,
      ...(digest === undefined ? {} : { digest }),
      async *read() {
        reads++;
        yield bytes;
      },
    });
    const bytes = noise(400_000);
    const single = await write([file('a', counted(bytes))]);
    expect(reads).toBe(1);
    const double = await write([file('a', counted(bytes)), file('b', counted(bytes))]);
    expect(double.sizeBytes).toBeLessThanOrEqual(single.sizeBytes + 4096);
    reads = 0;
    const digest = `sha256:${'0'.repeat(64)}`;
    await write([file('a', counted(bytes, digest)), file('b', counted(bytes, digest))]);
    expect(reads).toBe(1);
    const other = await write([file('a', bytesContent(bytes)), file('b', bytesContent(noise(400_000, 2)))]);
    expect(other.sizeBytes).toBeGreaterThan(800_000);
  });

  test('blocks of zeros take no space', async () => {
    const { sizeBytes } = await write([file('zeros', bytesContent(new Uint8Array(20_000_000)))]);
    expect(sizeBytes).toBe(4096);
  });

  test('progress ends at all of the bytes', async () => {
    const seen: [number, number][] = [];
    const files = [
      file('a', bytesContent(noise(200_000))),
      file('b', textContent('x')),
      file('c', textContent('x')),
    ];
    await write(files, { onProgress: (done, total) => seen.push([done, total]) });
    expect(seen).toEqual([
      [131_072, 200_002],
      [200_000, 200_002],
      [200_001, 200_002],
      [200_002, 200_002],
    ]);
  });

  test('directories a thousand levels deep', async () => {
    const paths = Array.from({ length: 2000 }, (_, depth) =>
      Array.from({ length: depth + 1 }, () => 'd').join('/'),
    );
    expect((await write(paths.map(directory))).sizeBytes).toBeGreaterThan(0);
  });

  test('writes into an open file, whatever was in it', async () => {
    await using temporary = await mkdtempDisposable(join(tmpdir(), 'squashfs-'));
    const path = join(temporary.path, 'image');
    await writeFile(path, noise(100_000));
    await using handle = await open(path, 'r+');
    const result = await writeSquashfs([file('a', textContent('x'))], handle, { level: 3 });
    const bytes = await readFile(path);
    expect(bytes.length).toBe(result.sizeBytes);
    expect(bytes.equals((await write([file('a', textContent('x'))])).bytes)).toBe(true);
  });
});

describe('writeSquashfs, refusals', () => {
  const failure = new Error('The disk is gone');
  const declaring = (sizeBytes: number, bytes: Uint8Array) => ({ ...bytesContent(bytes), sizeBytes });
  const failing = (sizeBytes: number) => ({
    sizeBytes,
    async *read() {
      yield noise(sizeBytes - 1);
      throw failure;
    },
  });

  test.each<[string, TreeEntry[], string]>([
    ['a missing parent', [file('a/b', textContent('x'))], '"a/b" is below "a", which is not in the tree'],
    ['content that is short', [file('a', declaring(5, noise(4)))], 'File "a" declares 5 bytes and has 4'],
    ['content that is long', [file('a', declaring(5, noise(6)))], 'File "a" declares 5 bytes and has more'],
    [
      'long content of a large file',
      [file('a', declaring(300_000, noise(300_001)))],
      'declares 300000 bytes and has more',
    ],
    [
      'short content of a large file',
      [file('a', declaring(300_000, noise(299_999)))],
      'declares 300000 bytes and has 299999',
    ],
    ['content of an empty file', [file('a', declaring(0, noise(1)))], 'declares 0 bytes and has more'],
    [
      'content that fails',
      [file('a', bytesContent(noise(3_000_000))), file('b', failing(2_000_000))],
      failure.message,
    ],
    ['a small content that fails', [file('a', failing(100))], failure.message],
  ])('%s fails, and leaves no file behind', async (_, entries, message) => {
    await using temporary = await mkdtempDisposable(join(tmpdir(), 'squashfs-'));
    const writing = writeSquashfs(entries, join(temporary.path, 'image'), { level: 3 });
    await expect(writing).rejects.toThrow(message);
    expect(await readdir(temporary.path)).toEqual([]);
  });

  test.each<[SquashfsOptions, string]>([
    [{ level: 0 }, 'zstd level 0'],
    [{ level: 23 }, 'zstd level 23'],
    [{ level: 1.5 }, 'zstd level 1.5'],
    [{ blockBytes: 2048 }, 'Block size 2048'],
    [{ blockBytes: 2 ** 21 }, 'Block size 2097152'],
    [{ blockBytes: 100_000 }, 'Block size 100000'],
    [{ workers: 0 }, '0 workers'],
  ])('options %o are out of range', async (options, message) => {
    await expect(write([], options)).rejects.toThrow(RangeError);
    await expect(write([], options)).rejects.toThrow(message);
  });

  test('an aborted signal stops it, and leaves no file behind', async () => {
    await using temporary = await mkdtempDisposable(join(tmpdir(), 'squashfs-'));
    const controller = new AbortController();
    const entries = Array.from({ length: 50 }, (_, index) =>
      file(`f${index}`, bytesContent(noise(200_000, index + 1))),
    );
    const writing = writeSquashfs(entries, join(temporary.path, 'image'), {
      level: 3,
      signal: controller.signal,
      onProgress: (done) => done > 2_000_000 && controller.abort(new Error('Enough')),
    });
    await expect(writing).rejects.toThrow('Enough');
    expect(await readdir(temporary.path)).toEqual([]);
  });
});
