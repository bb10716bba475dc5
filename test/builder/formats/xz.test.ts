import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decompress } from '../../../builder/formats/decompress.ts';
import { encodeXz } from '../../../builder/formats/xz.ts';

const mebibyte = 1024 * 1024;

async function* pieces(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function collect(input: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of input) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

const encoded = (bytes: Uint8Array, size = mebibyte) => collect(encodeXz(pieces(bytes, size)));

async function* once(bytes: Uint8Array) {
  yield bytes;
}

const decoded = (bytes: Uint8Array) => collect(decompress(once(bytes), { maxOutputBytes: 2 ** 30 }));

/** Runs of zeros of every kind: at the start, between, odd, longer than a chunk, at the end. */
function holey(): Buffer {
  return Buffer.concat([
    Buffer.alloc(3 * mebibyte + 4096),
    randomBytes(200_000),
    Buffer.alloc(12_288),
    randomBytes(5),
    Buffer.alloc(5 * mebibyte + 1),
  ]);
}

describe('encodeXz', () => {
  test('is undone by decoding, whatever the chunks it is given', async () => {
    const bytes = holey();
    for (const size of [4096, 65_537, mebibyte, bytes.length]) {
      const file = await encoded(bytes, size);
      expect(file.length).toBeLessThan(260_000);
      expect((await decoded(file)).equals(bytes), `in chunks of ${size}`).toBe(true);
    }
  });

  test.each([0, 1, 4095, 4096, 65_536, 65_537, 2 * mebibyte])('takes %i zeros', async (length) => {
    const bytes = Buffer.alloc(length);
    expect((await decoded(await encoded(bytes))).equals(bytes)).toBe(true);
  });

  test('packs every length of zeros, also where the last match would be too short', async () => {
    // A piece is 4096 bytes; matches have at most 273: the remainders of their lengths take every value.
    for (let count = 1; count < 280; count++) {
      const bytes = Buffer.alloc(count * 4096);
      const file = await encoded(bytes);
      expect((await decoded(file)).equals(bytes), `${count} pieces`).toBe(true);
    }
  });

  test('is undone by decoding for arbitrary patterns of zeros and bytes', async () => {
    const run = fc.record({ zeros: fc.nat(40_000), data: fc.uint8Array({ maxLength: 9000 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(run, { maxLength: 6 }),
        fc.integer({ min: 500, max: 70_000 }),
        async (all, size) => {
          const bytes = Buffer.concat(all.flatMap(({ zeros, data }) => [Buffer.alloc(zeros), data]));
          expect((await decoded(await encoded(bytes, size))).equals(bytes)).toBe(true);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('a gigabyte of zeros takes a few hundred kilobytes', async () => {
    const hole = Buffer.alloc(mebibyte);
    let length = 0;
    const input = async function* () {
      for (let index = 0; index < 1024; index++) yield hole;
    };
    for await (const chunk of encodeXz(input())) length += chunk.length;
    expect(length).toBeLessThan(300_000);
  });
});
