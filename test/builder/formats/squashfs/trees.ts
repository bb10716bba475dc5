/** Trees that reach every corner of the squashfs writer. */
import { bytesContent, type Content, textContent, type TreeEntry } from '../../../../builder/formats/tree.ts';
import { sampleTree } from '../sample-tree.ts';

const common = { uid: 0, gid: 0, mtimeSec: 1_600_000_000, mode: 0o644 };
const blockBytes = 131_072;

export const file = (path: string, content: Content): TreeEntry => ({
  ...common,
  path,
  kind: 'file',
  content,
});
export const directory = (path: string): TreeEntry => ({ ...common, mode: 0o755, path, kind: 'directory' });

/** The same bytes each time that no compressor makes smaller (xorshift32). */
export function noise(sizeBytes: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(sizeBytes / 4));
  let state = seed;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer, 0, sizeBytes);
}

/** Bytes that compress about four to one. */
export function prose(sizeBytes: number, seed = 1): Uint8Array {
  return noise(sizeBytes, seed).map((byte) => (byte & 3) + 0x61);
}

/** `sizeBytes` zeros, with `ends` at both ends, without holding them. */
export function hollow(sizeBytes: number, ends: Uint8Array): Content {
  const zeros = new Uint8Array(1024 * 1024);
  return {
    sizeBytes,
    async *read() {
      yield ends;
      for (let left = sizeBytes - 2 * ends.length; left > 0; left -= zeros.length) {
        yield zeros.subarray(0, Math.min(left, zeros.length));
      }
      yield ends;
    },
  };
}

const concat = (...parts: Uint8Array[]) => bytesContent(Buffer.concat(parts));
const zeros = (sizeBytes: number) => new Uint8Array(sizeBytes);

/** Files whose sizes, zeros and repetitions matter to blocks, fragments and sparse parts. */
export const fileShapes: readonly TreeEntry[] = [
  directory('shapes'),
  ...[0, 1, 4095, blockBytes - 1, blockBytes, blockBytes + 1, 2 * blockBytes, 300_000].flatMap(
    (sizeBytes) => [
      file(`shapes/noise-${sizeBytes}`, bytesContent(noise(sizeBytes, sizeBytes + 1))),
      file(`shapes/prose-${sizeBytes}`, bytesContent(prose(sizeBytes, sizeBytes + 2))),
    ],
  ),
  file('shapes/prose-3M', bytesContent(prose(3_000_000))),
  file('shapes/prose-3M-again', bytesContent(prose(3_000_000))),
  file('shapes/small', textContent('the same text')),
  file('shapes/small-again', textContent('the same text')),
  file('shapes/zeros-of-one-block', concat(zeros(blockBytes))),
  file('shapes/zeros-of-three-blocks', concat(zeros(3 * blockBytes))),
  file('shapes/zeros-and-end', concat(zeros(blockBytes), zeros(1000))),
  file('shapes/hole-first', concat(zeros(blockBytes), noise(blockBytes), noise(10))),
  file('shapes/hole-inside', concat(prose(blockBytes), zeros(2 * blockBytes), prose(2 * blockBytes, 5))),
  file('shapes/hole-last', concat(prose(blockBytes, 9), zeros(blockBytes))),
];

/** Names that tools and shells stumble over. */
export const nastyNames: readonly TreeEntry[] = [
  directory('names'),
  ...[
    ' ',
    '-rf',
    '*',
    '"quoted"',
    "it's",
    'back\\slash',
    'new\nline',
    'tab\t',
    '...',
    '\u007f',
    '\u{1f4e7}',
    'e\u0301',
    'é',
  ].map((name) => file(`names/${name}`, textContent(name))),
  file(`names/${'€'.repeat(85)}`, textContent('255 bytes')),
  ...Array.from({ length: 20 }, (_, depth) =>
    directory(
      ['names', ...Array.from({ length: depth + 1 }, (_, level) => `${'deep'.repeat(20)}${level}`)].join('/'),
    ),
  ),
];

/** One directory of many files, as the kernel finds them by its index. */
export function crowd(count: number): TreeEntry[] {
  return [
    directory('crowd'),
    ...Array.from({ length: count }, (_, index) =>
      file(`crowd/entry number ${index}`, textContent(`${index % 100}`)),
    ),
  ];
}

export const everything: readonly TreeEntry[] = [...sampleTree, ...fileShapes, ...nastyNames];
