import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dataFormattedAttribute } from '../../../appliance/contract/disk-layout.ts';
import { dataFormattingAttribute, decideData } from '../../../appliance/disk/data-decision.ts';
import { readFsckCode } from '../../../appliance/disk/prepare-data.ts';

const formatted = dataFormattedAttribute;
const formatting = dataFormattingAttribute;

describe('decideData', () => {
  test.each([
    { marks: 0n, startsWithZeros: true, hasExt4: false, kind: 'format', why: 'fresh from the image' },
    { marks: formatting, startsWithZeros: false, hasExt4: false, kind: 'format', why: 'cut during mke2fs' },
    { marks: formatting, startsWithZeros: false, hasExt4: true, kind: 'format', why: 'cut before the mark' },
    { marks: 0n, startsWithZeros: false, hasExt4: true, kind: 'check', why: 'an image over an old disk' },
    { marks: formatted, startsWithZeros: false, hasExt4: true, kind: 'check', why: 'every later boot' },
    { marks: formatted, startsWithZeros: true, hasExt4: false, kind: 'check', why: 'lost its superblock' },
    { marks: formatted | formatting, startsWithZeros: false, hasExt4: false, kind: 'check', why: 'both' },
    { marks: 0n, startsWithZeros: false, hasExt4: false, kind: 'refuse', why: 'somebody else’s bytes' },
  ])('$kind: $why', ({ marks, startsWithZeros, hasExt4, kind }) => {
    expect(decideData({ attributes: marks, startsWithZeros, hasExt4 }).kind).toBe(kind);
  });

  test('never formats what is marked as formatted, whatever else is seen', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.boolean(),
        fc.boolean(),
        (others, startsWithZeros, hasExt4) => {
          const attributes = others | formatted;
          expect(decideData({ attributes, startsWithZeros, hasExt4 }).kind).toBe('check');
        },
      ),
    );
  });
});

describe('readFsckCode', () => {
  test.each([
    [0, 'clean'],
    [1, 'repaired'],
    [2, 'reboot'],
    [3, 'reboot'],
    [4, 'failed'],
    [5, 'failed'],
    [8, 'failed'],
    [32, 'failed'],
    [128, 'failed'],
  ])('reads %i as %s', (code, outcome) => {
    expect(readFsckCode(code)).toBe(outcome);
  });
});
