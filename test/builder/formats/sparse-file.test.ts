import { mkdtempDisposable, readFile, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createSparseFile, sinkWindow } from '../../../builder/formats/sparse-file.ts';

describe('createSparseFile', () => {
  test('keeps every byte, wherever it is written', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'sparse-'));
    const path = join(scratch.path, 'image');
    const sizeBytes = 100_000;
    const run = fc.record({
      gap: fc.integer({ min: 0, max: 9000 }),
      length: fc.integer({ min: 0, max: 12_000 }),
      byte: fc.constantFrom(0, 1),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(run, { maxLength: 10 }), async (runs) => {
        const expected = Buffer.alloc(sizeBytes);
        {
          await using file = await createSparseFile(path, sizeBytes);
          let offset = 0;
          for (const { gap, length, byte } of runs) {
            offset += gap;
            if (offset + length > sizeBytes) break;
            // Not all of a block need be like its first byte.
            const bytes = Buffer.alloc(length, byte);
            if (length > 0) bytes[length - 1] = 7;
            bytes.copy(expected, offset);
            await file.writeAt(offset, bytes);
            offset += length;
          }
        }
        expect((await readFile(path)).equals(expected)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  test.skipIf(process.platform === 'win32')('leaves holes for zeros', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'sparse-'));
    const path = join(scratch.path, 'image');
    {
      await using file = await createSparseFile(path, 1024 ** 4);
      const bytes = Buffer.alloc(16 * 1024 * 1024);
      bytes[8 * 1024 * 1024] = 1;
      await file.writeAt(5_000_000_000, bytes);
    }
    const { size, blocks } = await stat(path);
    expect(size).toBe(1024 ** 4);
    expect(blocks * 512).toBeLessThan(1024 * 1024);
  });

  test('refuses what lies outside', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'sparse-'));
    await using file = await createSparseFile(join(scratch.path, 'image'), 100);
    const two = Uint8Array.of(1, 1);
    for (const offset of [99, 100, -1, 0.5, NaN]) {
      await expect(file.writeAt(offset, two)).rejects.toThrow(RangeError);
    }
  });
});

describe('sinkWindow', () => {
  test('moves writes to its place, and keeps them inside', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'sparse-'));
    const path = join(scratch.path, 'image');
    {
      await using file = await createSparseFile(path, 10);
      const window = sinkWindow(file, 4, 3);
      await window.writeAt(1, Uint8Array.of(5, 6));
      expect(() => window.writeAt(2, Uint8Array.of(5, 6))).toThrow(RangeError);
      expect(() => sinkWindow(file, 8, 3)).toThrow(RangeError);
    }
    expect([...(await readFile(path))]).toEqual([0, 0, 0, 0, 0, 5, 6, 0, 0, 0]);
  });
});
