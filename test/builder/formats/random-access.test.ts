import { mkdtempDisposable, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bytesSource, openFileSource, sliceContent } from '../../../builder/formats/random-access.ts';

const pattern = (length: number) =>
  Uint8Array.from({ length }, (_, index) => (index * 7 + (index >> 8)) & 255);

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

describe('openFileSource', () => {
  test('many slices share one handle and can be read again, interleaved', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'source-'));
    const path = join(directory.path, 'file');
    const bytes = pattern(3_000_001);
    await writeFile(path, bytes);
    await using source = await openFileSource(path);
    expect(source.sizeBytes).toBe(bytes.length);
    const slices = Array.from({ length: 200 }, (_, index) => sliceContent(source, index * 10_000, 12_345));
    for (const round of [0, 1]) {
      const read = await Promise.all(slices.map((slice) => collect(slice.read())));
      read.forEach((part, index) =>
        expect(part.equals(bytes.subarray(index * 10_000, index * 10_000 + 12_345)), `${round}`).toBe(true),
      );
    }
    expect((await collect(sliceContent(source, 1, 3_000_000).read())).equals(bytes.subarray(1))).toBe(true);
  });

  test('a directory, a missing file and a file that shrinks are refused', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'source-'));
    await expect(openFileSource(directory.path)).rejects.toThrow('not a regular file');
    await expect(openFileSource(join(directory.path, 'none'))).rejects.toThrow('ENOENT');
    const path = join(directory.path, 'file');
    await writeFile(path, pattern(100));
    await using source = await openFileSource(path);
    await truncate(path, 50);
    await expect(source.readAt(0, 100)).rejects.toThrow('became shorter than 100 bytes');
  });

  test('an aborted signal stops the read', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'source-'));
    const path = join(directory.path, 'file');
    await writeFile(path, pattern(100));
    await using source = await openFileSource(path);
    await expect(source.readAt(0, 1, AbortSignal.abort())).rejects.toThrow('aborted');
  });
});

describe('sliceContent', () => {
  const source = bytesSource(pattern(1000), 'sample');

  test('yields exactly its range, and nothing for an empty one', async () => {
    expect([...(await collect(sliceContent(source, 990, 10).read()))]).toEqual([
      ...pattern(1000).subarray(990),
    ]);
    expect(await collect(sliceContent(source, 1000, 0).read())).toHaveLength(0);
    expect(sliceContent(source, 0, 1, 'sha256:00').digest).toBe('sha256:00');
  });

  test('a range outside the source is a RangeError at once', () => {
    for (const [offset, length] of [
      [0, 1001],
      [1001, 0],
      [-1, 1],
      [1, -1],
      [0.5, 1],
      [0, Number.NaN],
    ] as const) {
      expect(() => sliceContent(source, offset, length), `${offset} ${length}`).toThrow(RangeError);
    }
  });
});
