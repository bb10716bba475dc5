/**
 * Decompression of what package archives are made of: xz, zstd, gzip, or nothing, told apart by their first
 * bytes. Checksums inside the formats are verified; whether the bytes are the right ones is for the caller's
 * digest to say.
 *
 * xz is decoded by XZ Embedded (WebAssembly): checks none, CRC32 and CRC64, no filter but LZMA2, which is
 * all dpkg-deb ever writes. zstd is one frame; gzip may be several members, as RFC 1952 §2.2 has it.
 */
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress, constants } from 'node:zlib';
import xz from 'xz-decompress';
import { ProtocolError, systemCode } from '../../appliance/base/errors.ts';

export interface DecompressOptions {
  /** More output than this is refused: a few kilobytes can unpack to terabytes. */
  readonly maxOutputBytes: number;
  /** How much zstd unpacks at a time (default: 128 KiB). More is quicker where much unpacks from little. */
  readonly chunkBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** xz(1) -9 has a 64 MiB dictionary, and so has the decoder at most; zstd gets the same room. */
const zstdWindowLogMax = 26;

/** The longest of the magic numbers below. */
export const magicBytes = 6;

type Codec = (
  input: AsyncIterable<Uint8Array>,
  options: Omit<DecompressOptions, 'maxOutputBytes'>,
) => AsyncIterable<Uint8Array>;

const codecs: readonly {
  readonly name: 'xz' | 'zstd' | 'gzip';
  readonly magic: readonly number[];
  readonly decode: Codec;
}[] = [
  // The .xz file format 1.2.1, §2.1.1.1
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], decode: decodeXz },
  // RFC 8878 §3.1.1
  { name: 'zstd', magic: [0x28, 0xb5, 0x2f, 0xfd], decode: decodeZstd },
  // RFC 1952 §2.3.1
  { name: 'gzip', magic: [0x1f, 0x8b], decode: decodeGzip },
];

/** What bytes that begin with `head` are compressed with; undefined when it is none of the known. */
export function compressionOf(head: Uint8Array): 'xz' | 'zstd' | 'gzip' | undefined {
  return codecs.find(({ magic }) => magic.every((byte, index) => head[index] === byte))?.name;
}

/**
 * The decompressed bytes of `input`; input in no known format is passed on as it is. Leaving the loop early
 * closes `input`. Only one xz stream is decoded at a time in a process, others wait for it: leave none
 * half read while reading another.
 * @throws ProtocolError on broken, truncated or trailing bytes and on output beyond `maxOutputBytes`
 */
export async function* decompress(
  input: AsyncIterable<Uint8Array>,
  { maxOutputBytes, ...options }: DecompressOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { head, whole } = await peek(input);
  const codec = codecs.find(({ magic }) => magic.every((byte, index) => head[index] === byte));
  let outputBytes = 0;
  for await (const chunk of codec ? codec.decode(whole, options) : whole) {
    options.signal?.throwIfAborted();
    outputBytes += chunk.length;
    if (outputBytes > maxOutputBytes) {
      throw new ProtocolError(
        `The ${codec?.name ?? 'plain'} data unpack to more than ${maxOutputBytes} bytes`,
      );
    }
    if (chunk.length > 0) yield chunk;
  }
}

/** The first bytes of `input`, and all of it (those bytes included), without empty chunks. */
async function peek(
  input: AsyncIterable<Uint8Array>,
): Promise<{ head: Uint8Array; whole: AsyncGenerator<Uint8Array, void, undefined> }> {
  const iterator = input[Symbol.asyncIterator]();
  let head: Uint8Array = new Uint8Array(0);
  while (head.length < magicBytes) {
    const next = await iterator.next();
    if (next.done) break;
    head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
  }
  return { head, whole: resume(head, iterator) };
}

async function* resume(
  head: Uint8Array,
  iterator: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    if (head.length > 0) yield head;
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      if (next.value.length > 0) yield next.value;
    }
  } finally {
    await iterator.return?.();
  }
}

function decodeGzip(input: AsyncIterable<Uint8Array>, { signal }: Parameters<Codec>[1]) {
  return decodeWithZlib('gzip', createGunzip(), input, signal);
}

function decodeZstd(input: AsyncIterable<Uint8Array>, { signal, chunkBytes }: Parameters<Codec>[1]) {
  const params = { [constants.ZSTD_d_windowLogMax]: zstdWindowLogMax };
  const decoder = createZstdDecompress({ params, ...(chunkBytes && { chunkSize: chunkBytes }) });
  return decodeWithZlib('zstd', decoder, input, signal);
}

async function* decodeWithZlib(
  name: string,
  decoder: ReturnType<typeof createGunzip> | ReturnType<typeof createZstdDecompress>,
  input: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let inputBytes = 0;
  const counted = async function* () {
    for await (const chunk of input) {
      inputBytes += chunk.length;
      yield chunk;
    }
  };
  const feeding = pipeline(counted, decoder, signal ? { signal } : {});
  // A failure of the input destroys the decoder with the same error, so the loop below reports it.
  feeding.catch(() => {});
  const trailing = () => new ProtocolError(`Other bytes follow the ${name} data`);
  try {
    for await (const chunk of decoder) yield chunk as Uint8Array;
    await feeding;
  } catch (error) {
    const code = systemCode(error) ?? '';
    // Zlib's streams close when they have met their end, whether or not the input has.
    if (code === 'ERR_STREAM_PREMATURE_CLOSE') throw trailing();
    if (!/^(Z_|ZSTD_)/.test(code)) throw error;
    const problem = code === 'Z_BUF_ERROR' ? 'end too early' : `are broken (${code})`;
    throw new ProtocolError(`The ${name} data ${problem}`, { cause: error });
  } finally {
    decoder.destroy();
  }
  if (decoder.bytesWritten !== inputBytes) throw trailing();
}

/** `enum xz_ret` of XZ Embedded's linux/include/linux/xz.h, as far as a decoder can fail. */
const xzProblems: Readonly<Record<string, string>> = {
  3: 'need more memory than there is',
  4: 'need a dictionary larger than 64 MiB',
  5: 'are not in the xz format',
  6: 'use a check or filter that is not supported',
  7: 'are broken',
  8: 'end too early, or other bytes follow them',
};

async function* decodeXz(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const iterator = input[Symbol.asyncIterator]();
  const compressed = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = await iterator.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
    async cancel() {
      await iterator.return?.();
    },
  });
  // The decoder holds a process-wide lock from its first read until it ends, fails or is cancelled. It must
  // not be cancelled before that first read is done, or it would release a lock it does not have.
  const reader = new xz.XzReadableStream(compressed).getReader();
  let ended = false;
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
    ended = true;
  } catch (error) {
    ended = true;
    const status = /get_next_output failed with error code (\d+)/.exec(String(error))?.[1];
    if (status === undefined) throw error;
    const problem = xzProblems[status] ?? `are broken (${status})`;
    throw new ProtocolError(`The xz data ${problem}`, { cause: error });
  } finally {
    if (!ended) await reader.cancel();
    await iterator.return?.();
  }
}
