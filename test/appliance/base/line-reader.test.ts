import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { createLineReader } from '../../../appliance/base/line-reader.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const texts = (lines: Buffer[]) => lines.map((line) => line.toString());

describe('createLineReader', () => {
  test('gives the lines a chunk completes and keeps the rest', () => {
    const reader = createLineReader(10);
    expect(texts(reader.push(bytes('one\ntwo\nth')))).toEqual(['one', 'two']);
    expect(reader.pendingBytes).toBe(2);
    expect(texts(reader.push(bytes('ree\n\n')))).toEqual(['three', '']);
    expect(reader.pendingBytes).toBe(0);
  });

  test('takes a line of exactly the maximum, and refuses one byte more before its end is seen', () => {
    expect(texts(createLineReader(5).push(bytes('12345\n')))).toEqual(['12345']);
    const reader = createLineReader(5);
    reader.push(bytes('123'));
    expect(() => reader.push(bytes('456'))).toThrow(ProtocolError);
  });

  test('does not depend on how the bytes are cut, and keeps no view on the chunk', () => {
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[a-z]{0,8}$/)),
        fc.integer({ min: 1, max: 5 }),
        (lines, size) => {
          const reader = createLineReader(8);
          const all = bytes(lines.map((line) => `${line}\n`).join(''));
          const found: string[] = [];
          for (let at = 0; at < all.length; at += size) {
            const chunk = all.slice(at, at + size);
            found.push(...texts(reader.push(chunk)));
            chunk.fill(0);
          }
          expect(found).toEqual(lines);
        },
      ),
    );
  });
});
