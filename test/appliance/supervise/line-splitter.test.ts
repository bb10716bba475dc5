import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LineSplitter, maxLineBytes } from '../../../appliance/supervise/line-splitter.ts';

const split = (...chunks: (string | Uint8Array)[]) => {
  const splitter = new LineSplitter();
  return chunks.flatMap((chunk) => splitter.push(Buffer.from(chunk)));
};

describe('LineSplitter', () => {
  test('joins what comes in pieces and keeps an unfinished line back', () => {
    expect(split('one\ntw', 'o\r\n', '\nrest')).toEqual(['one', 'two', '']);
  });

  test('gives the same lines byte by byte', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (lines) => {
        const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
        expect(split(...Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(split(bytes));
      }),
    );
  });

  test('cuts a line that is too long instead of keeping it in memory', () => {
    const lines = split('x'.repeat(3 * maxLineBytes), 'y\n');
    expect(lines.map((line) => line.length)).toEqual([maxLineBytes, maxLineBytes, maxLineBytes, 1]);
  });

  test('takes away what could drive a terminal', () => {
    expect(split('a\u001B[2Jb\tc\n')).toEqual(['a?[2Jb\tc']);
  });
});
