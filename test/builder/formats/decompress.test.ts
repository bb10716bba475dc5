import { constants, gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { decompress } from '../../../builder/formats/decompress.ts';

const hello = Buffer.from('Hello, relay!\n'.repeat(40));

// printf 'Hello, relay!\n%.0s' {1..40} | xz -6 (CRC64) | base64 -w0
const helloXz = Buffer.from(
  '/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4AIvABZdACQZSZhvFgKMVtZBZdGi5MIUXAZuYAAAAAAiSxgoql40ggABMrAEAAAAOO1CFbHEZ/sCAAAAAARZWg==',
  'base64',
);
// printf 'Hello, relay!\n%.0s' {1..40} | xz -T2 --block-size=100 -C crc32 | base64 -w0
const helloBlocksXz = Buffer.from(
  '/Td6WFoAAAFpIt42AsAcZCEBFgBJQ2j24ABjABRdACQZSZhvFgKMVtZBZdGi4+x8w0AAAFenf5UCwB1kIQEWAOyQND3gAGMAFV0ANmG4WCA5QydVKfL77USlisPu44AAAAAAAGAI844CwB1kIQEWAOyQND3gAGMAFV0AN4sAB2ObgsaLToRQiYwvC3vMBAAAAAAAADvkOSECwB1kIQEWAOyQND3gAGMAFV0AEByIpu1iRonajH876CXqv9XDmgAAAAAAAKXSC0ECwB1kIQEWAOyQND3gAGMAFV0AMpsISMxWQ6UFFH/3sI1G26ochAAAAAAAADyg2XgCwBw8IQEWAEPHC/7gADsAFF0AMJ5AH5osnZKoJC0WsieN0kEVMAAAhZs2zQAGLGQtZC1kLWQtZCw8AACYdbo3I9NUXQQAAAAAAVla',
  'base64',
);
// The same with -C sha256, which XZ Embedded does not know.
const helloSha256Xz = Buffer.from(
  '/Td6WFoAAArh+wyhAgAhARYAAAB0L+Wj4AIvABZdACQZSZhvFgKMVtZBZdGi5MIUXAZuYAAAAABWGDPKezzuXI+kmj1VEgiOWqYil6CYYU+YYhQUg7BPWgABSrAEAAAAlGIz8rbp3xwCAAAAAApZWg==',
  'base64',
);

const formats = [
  { name: 'xz', bytes: helloXz },
  { name: 'xz of several blocks', bytes: helloBlocksXz },
  { name: 'zstd', bytes: zstdCompressSync(hello, { params: { [constants.ZSTD_c_checksumFlag]: 1 } }) },
  { name: 'gzip', bytes: gzipSync(hello) },
];

async function* chunksOf(bytes: Uint8Array, chunkBytes: number, closed?: () => void) {
  try {
    for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
  } finally {
    closed?.();
  }
}

async function run(
  bytes: Uint8Array,
  chunkBytes = bytes.length || 1,
  maxOutputBytes = 10_000,
): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of decompress(chunksOf(bytes, chunkBytes), { maxOutputBytes })) parts.push(part);
  return Buffer.concat(parts);
}

describe.each(formats)('decompress, $name', ({ bytes }) => {
  test('whole, and byte by byte', async () => {
    expect((await run(bytes)).equals(hello)).toBe(true);
    expect((await run(bytes, 1)).equals(hello)).toBe(true);
  });

  test('truncation at each offset is refused', async () => {
    for (let length = 6; length < bytes.length; length++) {
      await expect(run(bytes.subarray(0, length)), `cut at ${length}`).rejects.toThrow(ProtocolError);
      await expect(run(bytes.subarray(0, length), 7), `cut at ${length}`).rejects.toThrow(ProtocolError);
    }
  });

  test('bytes after the end are refused', async () => {
    for (const tail of ['x', 'junk', '\0\0\0', 'more than the twelve bytes of an xz header']) {
      const input = Buffer.concat([bytes, Buffer.from(tail)]);
      for (const chunkBytes of [1, bytes.length, input.length]) {
        await expect(run(input, chunkBytes), JSON.stringify(tail)).rejects.toThrow(ProtocolError);
      }
    }
  });

  test('a flipped bit is noticed, or changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 6, max: bytes.length - 1 }),
        fc.integer({ min: 0, max: 7 }),
        async (at, bit) => {
          const broken = Buffer.from(bytes);
          broken[at] = (broken[at] ?? 0) ^ (1 << bit);
          const result = await run(broken).catch((error: unknown) => error);
          if (result instanceof Buffer) expect(result.equals(hello)).toBe(true);
          else expect(result).toBeInstanceOf(ProtocolError);
        },
      ),
    );
  });

  test('output up to the bound passes, one byte more is refused and closes the input', async () => {
    expect((await run(bytes, 50, hello.length)).equals(hello)).toBe(true);
    await expect(run(bytes, 50, hello.length - 1)).rejects.toThrow(`more than ${hello.length - 1} bytes`);
    let closed = 0;
    const input = chunksOf(bytes, 5, () => closed++);
    await expect(async () => {
      for await (const _ of decompress(input, { maxOutputBytes: 10 }));
    }).rejects.toThrow('more than 10 bytes');
    expect(closed).toBe(1);
  });

  test('leaving early closes the input, and the next stream is not held up', async () => {
    let closed = 0;
    for await (const _ of decompress(
      chunksOf(bytes, 9, () => closed++),
      { maxOutputBytes: 10_000 },
    ))
      break;
    expect(closed).toBe(1);
    expect((await run(bytes)).equals(hello)).toBe(true);
  });

  test('a failure of the input comes through as it is, and the next stream is not held up', async () => {
    const failure = new Error('The cable was pulled');
    const failing = async function* () {
      yield bytes.subarray(0, 20);
      throw failure;
    };
    const result = Array.fromAsync(decompress(failing(), { maxOutputBytes: 10_000 }));
    await expect(result).rejects.toBe(failure);
    expect((await run(bytes)).equals(hello)).toBe(true);
  });

  test('an aborted signal stops it', async () => {
    const signal = AbortSignal.abort(new Error('Enough'));
    const result = Array.fromAsync(decompress(chunksOf(bytes, 9), { maxOutputBytes: 10_000, signal }));
    await expect(result).rejects.toThrow(/Enough|abort/i);
    expect((await run(bytes)).equals(hello)).toBe(true);
  });
});

describe('decompress', () => {
  test('passes on what is not compressed, within the bound', async () => {
    expect((await run(hello, 3)).equals(hello)).toBe(true);
    expect(await run(Buffer.alloc(0))).toHaveLength(0);
    expect((await run(Buffer.from([0x1f]))).equals(Buffer.from([0x1f]))).toBe(true);
    await expect(run(hello, 3, 100)).rejects.toThrow('more than 100 bytes');
  });

  test('several xz streams at once', async () => {
    const results = await Promise.all(Array.from({ length: 5 }, () => run(helloXz, 11)));
    expect(results.every((result) => result.equals(hello))).toBe(true);
  });

  test('an xz check that could not be verified is refused', async () => {
    await expect(run(helloSha256Xz)).rejects.toThrow('check or filter that is not supported');
  });
});
