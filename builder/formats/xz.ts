/**
 * Writes .xz files of which only the zeros are packed; other bytes are stored. Made for disk images whose
 * content is compressed already (squashfs, kernels) and which otherwise are holes: xz(1) -6 makes 2 % less
 * of them, in a hundred times the time. Decoders need 1 MiB of memory. One stream, one block, CRC32.
 * Sources: "The .xz file format" 1.2.1; LZMA2 as in liblzma's lzma2_decoder.c; lzma-specification.txt.
 */
import { crc32 } from 'node:zlib';
import { freshProbabilities, RangeEncoder } from './range-encoder.ts';

/** LZMA2: a chunk of LZMA holds at most so much, a stored one 64 KiB. */
const maxPackedBytes = 2 * 1024 * 1024;
const maxStoredBytes = 64 * 1024;
/** What is looked at for being zeros: shorter runs are stored. */
const pieceBytes = 4096;
const zeroPiece = Buffer.alloc(pieceBytes);

/** §2.1.1.2: CRC32 of what was compressed. */
const streamFlags = Uint8Array.of(0x00, 0x01);
/** §5.3.1: 2 << (16 / 2 + 11) = 1 MiB. */
const dictionarySize = 16;

/** The .xz file of all `input`, in chunks of any size. What is yielded is the caller's until the next. */
export async function* encodeXz(
  input: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const flagsCrc = uint32(crc32(streamFlags));
  // §2.1.1.1: the magic bytes.
  yield Buffer.concat([Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00), streamFlags, flagsCrc]);
  // §3.1: 12 bytes with the CRC, no sizes, one filter: LZMA2 with one byte of properties.
  const header = Uint8Array.of(2, 0, 0x21, 1, dictionarySize, 0, 0, 0);
  yield Buffer.concat([header, uint32(crc32(header))]);

  let [inputBytes, packedBytes, check] = [0, 0, 0];
  for await (const chunk of encodeLzma2(counted(input))) {
    packedBytes += chunk.length;
    yield chunk;
  }
  yield Buffer.concat([Buffer.alloc(padding(packedBytes)), uint32(check)]);

  // §4: one record. The size of a block leaves its padding out.
  const unpaddedBytes = header.length + 4 + packedBytes + 4;
  const records = Buffer.concat([
    Uint8Array.of(0, 1),
    variableInteger(unpaddedBytes),
    variableInteger(inputBytes),
  ]);
  const index = Buffer.concat([records, Buffer.alloc(padding(records.length))]);
  yield Buffer.concat([index, uint32(crc32(index))]);

  // §2.1.2: the index's size in units of four bytes, less one.
  const footer = Buffer.concat([uint32((index.length + 4) / 4 - 1), streamFlags]);
  yield Buffer.concat([uint32(crc32(footer)), footer, Buffer.from('YZ')]);

  async function* counted(bytes: AsyncIterable<Uint8Array>) {
    for await (const chunk of bytes) {
      inputBytes += chunk.length;
      check = crc32(chunk, check);
      yield chunk;
    }
  }
}

async function* encodeLzma2(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const packed = new Map<number, Uint8Array>();
  let isFirst = true;
  const zeros = (length: number): Uint8Array => {
    const payload = packed.get(length) ?? packZeros(length);
    packed.set(length, payload);
    const [size, packedSize] = [length - 1, payload.length - 1];
    // Control: LZMA, state and properties reset (the first also the dictionary), bits 16–20 of the size.
    const control = (isFirst ? 0xe0 : 0xc0) | (size >> 16);
    const sizes = [(size >> 8) & 0xff, size & 0xff, packedSize >> 8, packedSize & 0xff];
    isFirst = false;
    // The properties: lc = lp = pb = 0, so that no chunk depends on the bytes before it.
    return Buffer.concat([Uint8Array.of(control, ...sizes, 0), payload]);
  };
  let pendingZeros = 0;
  for await (const chunk of input) {
    for (const { start, end, isZero } of runs(chunk)) {
      if (isZero) {
        pendingZeros += end - start;
        for (; pendingZeros >= maxPackedBytes; pendingZeros -= maxPackedBytes) yield zeros(maxPackedBytes);
        continue;
      }
      if (pendingZeros > 0) yield zeros(pendingZeros);
      pendingZeros = 0;
      for (let at = start; at < end; at += maxStoredBytes) {
        const size = Math.min(maxStoredBytes, end - at) - 1;
        // Control: stored, the first with a dictionary reset.
        yield Uint8Array.of(isFirst ? 1 : 2, size >> 8, size & 0xff);
        isFirst = false;
        yield chunk.subarray(at, at + size + 1);
      }
    }
  }
  if (pendingZeros > 0) yield zeros(pendingZeros);
  yield Uint8Array.of(0);
}

/** Cut into runs of whole pieces of zeros, and what is between them. */
function* runs(chunk: Uint8Array): Generator<{ start: number; end: number; isZero: boolean }> {
  let start = 0;
  let wasZero = false;
  for (let at = 0; at < chunk.length; at += pieceBytes) {
    const isZero =
      at + pieceBytes <= chunk.length && zeroPiece.compare(chunk, at, at + pieceBytes, 0, pieceBytes) === 0;
    if (isZero === wasZero) continue;
    if (at > start) yield { start, end: at, isZero: wasZero };
    start = at;
    wasZero = isZero;
  }
  if (chunk.length > start) yield { start, end: chunk.length, isZero: wasZero };
}

/** A literal zero, and then the byte before over and over: "rep0" matches at distance 1. */
function packZeros(length: number): Uint8Array {
  const encoder = new RangeEncoder();
  // One probability for each of the twelve states; there is one position state, as pb = 0.
  const [isMatch, isRep, isRepG0, isRep0Long] = Array.from({ length: 4 }, () => freshProbabilities(12));
  const choices = freshProbabilities(2);
  const trees = { low: freshProbabilities(8), mid: freshProbabilities(8), high: freshProbabilities(256) };
  if (!isMatch || !isRep || !isRepG0 || !isRep0Long) throw new RangeError('Four sets were made');

  encoder.encodeBit(isMatch, 0, 0);
  encoder.encodeTree(freshProbabilities(256), 8, 0);
  let state = 0;
  for (let left = length - 1; left > 0;) {
    // The longest match has 273 bytes, the shortest two: never leave one.
    const matched = left > 273 ? (left === 274 ? 272 : 273) : left;
    left -= matched;
    encoder.encodeBit(isMatch, state, 1);
    encoder.encodeBit(isRep, state, 1);
    encoder.encodeBit(isRepG0, state, 0);
    encoder.encodeBit(isRep0Long, state, 1);
    const value = matched - 2;
    encoder.encodeBit(choices, 0, value < 8 ? 0 : 1);
    if (value >= 8) encoder.encodeBit(choices, 1, value < 16 ? 0 : 1);
    if (value < 8) encoder.encodeTree(trees.low, 3, value);
    else if (value < 16) encoder.encodeTree(trees.mid, 3, value - 8);
    else encoder.encodeTree(trees.high, 8, value - 16);
    state = state < 7 ? 8 : 11;
  }
  return encoder.finish();
}

/** To the next multiple of four. */
function padding(length: number): number {
  return (4 - (length % 4)) % 4;
}

function uint32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

/** §1.2: seven bits a byte, the lowest first. */
function variableInteger(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return Uint8Array.of(...bytes, rest);
}
