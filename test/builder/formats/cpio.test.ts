import { describe, expect, test } from 'vitest';
import { encodeCpio } from '../../../builder/formats/cpio.ts';
import { bytesContent, textContent } from '../../../builder/formats/tree.ts';
import { collect, sampleTree } from './sample-tree.ts';

const common = { uid: 1, gid: 2, mtimeSec: 3, mode: 0o644 };

describe('encodeCpio', () => {
  test('one file, field by field', async () => {
    const archive = await collect(
      encodeCpio([{ ...common, path: 'f', kind: 'file', content: textContent('hello') }]),
    );
    const number = (value: number) => value.toString(16).padStart(8, '0');
    const header = (fields: number[], name: string) =>
      `070701${fields.map(number).join('')}${name}`.toUpperCase();
    expect(archive.toString('latin1')).toBe(
      `${header([1, 0o100644, 1, 2, 1, 3, 5, 0, 0, 0, 0, 2, 0], 'F').slice(0, -1)}f\0hello\0\0\0` +
        `${header([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0], 'TRAILER!!!')}\0\0\0\0`.padEnd(512 - 120, '\0'),
    );
  });

  test('the same bytes for the same tree in any order, a multiple of 512', async () => {
    const archive = await collect(encodeCpio(sampleTree));
    expect(archive.length % 512).toBe(0);
    expect((await collect(encodeCpio(sampleTree.toReversed()))).equals(archive)).toBe(true);
  });

  test('content of another size than declared is refused', async () => {
    for (const sizeBytes of [4, 6]) {
      const content = { ...bytesContent(Buffer.from('hello')), sizeBytes };
      await expect(collect(encodeCpio([{ ...common, path: 'f', kind: 'file', content }]))).rejects.toThrow(
        `File "f" declares ${sizeBytes} bytes and has 5`,
      );
    }
  });

  test('a file of 4 GiB is refused before it is read', async () => {
    const content = { ...bytesContent(new Uint8Array(0)), sizeBytes: 2 ** 32 };
    await expect(collect(encodeCpio([{ ...common, path: 'f', kind: 'file', content }]))).rejects.toThrow(
      '4294967296 bytes',
    );
  });
});
