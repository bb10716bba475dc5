import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { type Bmap, decodeBmap, encodeBmap } from '../../../builder/formats/bmap.ts';

const digest = (text: string) => createHash('sha256').update(text).digest('hex');
const sample: Bmap = {
  imageBytes: 40_000,
  blockBytes: 4096,
  ranges: [
    { firstBlock: 0, lastBlock: 1, sha256: digest('a') },
    { firstBlock: 2, lastBlock: 2, sha256: digest('b') },
    { firstBlock: 9, lastBlock: 9, sha256: digest('c') },
  ],
};

/** The same text with another value, and a checksum that fits it. */
function changed(from: string | RegExp, to: string): string {
  const zeros = '0'.repeat(64);
  const text = encodeBmap(sample)
    .replace(/(<BmapFileChecksum> )\w+/, `$1${zeros}`)
    .replace(from, to);
  return text.replace(zeros, digest(text));
}

describe('encodeBmap', () => {
  test('writes what bmaptool reads', () => {
    expect(encodeBmap(sample).split('\n').slice(0, 9).join('\n')).toMatch(
      /^<\?xml version="1.0" \?>\n<bmap version="2.0">\n {4}<ImageSize> 40000 <\/ImageSize>\n {4}<BlockSize> 4096 <\/BlockSize>\n {4}<BlocksCount> 10 <\/BlocksCount>\n {4}<MappedBlocksCount> 4 <\/MappedBlocksCount>\n/,
    );
    expect(encodeBmap(sample)).toContain(`<Range chksum="${digest('a')}"> 0-1 </Range>`);
    expect(encodeBmap(sample)).toContain(`<Range chksum="${digest('c')}"> 9 </Range>`);
  });

  test('refuses ranges out of order and outside the image', () => {
    const [first, second] = sample.ranges;
    if (!first || !second) throw new Error('There are three');
    expect(() => encodeBmap({ ...sample, ranges: [second, first] })).toThrow(RangeError);
    expect(() => encodeBmap({ ...sample, imageBytes: 4096 })).toThrow(/outside the image/);
  });
});

describe('decodeBmap', () => {
  test('gives back what was encoded', () => {
    expect(decodeBmap(encodeBmap(sample))).toEqual(sample);
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(9999), { maxLength: 60 }),
        fc.constantFrom(512, 4096, 65_536),
        (edges, blockBytes) => {
          const sorted = edges.toSorted((one, other) => one - other);
          const ranges = sorted.flatMap((firstBlock, index) => {
            const lastBlock = (sorted[index + 1] ?? 10_000) - 1;
            return index % 2 === 0 ? [{ firstBlock, lastBlock, sha256: digest(String(firstBlock)) }] : [];
          });
          const bmap = { imageBytes: 10_000 * blockBytes - 7, blockBytes, ranges };
          expect(decodeBmap(encodeBmap(bmap))).toEqual(bmap);
        },
      ),
    );
  });

  test('passes over comments, such as those that bmaptool writes', () => {
    const text = changed('<bmap', '<!-- <Range chksum="none"> 1 </Range>\n two lines -->\n<bmap');
    expect(decodeBmap(text)).toEqual(sample);
  });

  test.each([
    ['a changed digit', encodeBmap(sample).replace('9 </Range>', '8 </Range>'), /own checksum/],
    ['version 1.4', changed('2.0', '1.4'), /version "1.4"/],
    ['other checksums', changed('sha256 ', 'sha1 '), /"sha1"/],
    ['another text', '{"bmap": 1}', /not a block map/],
    ['a size that its blocks do not make', changed('40000', '50000'), /do not make 50000 bytes/],
    ['a count that is not that of its ranges', changed('> 4 <', '> 5 <'), /lists 4 blocks, and says 5/],
    ['ranges that overlap', changed('> 2 <', '> 1-2 <'), /1-2 is out of order/],
    ['a range that ends before it begins', changed('0-1', '1-0'), /1-0 is out of order/],
    ['a range outside', changed('> 9 <', '> 10 <'), /outside the image/],
    ['a range without a checksum', changed(/chksum="\w+"> 9/, '> 9'), /no checksum/],
    ['blocks of no bytes', changed('<BlockSize> 4096', '<BlockSize> 0'), /blocks of 0 bytes/],
    ['enormous blocks', changed('<BlockSize> 4096', '<BlockSize> 99999999999'), /BlockSize/],
    ['a number that is none', changed('40000', '4e4'), /<ImageSize> is "4e4"/],
    ['a missing element', changed(/<MappedBlocksCount>.*/, ''), /<MappedBlocksCount> is missing/],
  ])('refuses %s', (_, text, message) => {
    expect(() => decodeBmap(text)).toThrow(ProtocolError);
    expect(() => decodeBmap(text)).toThrow(message);
  });

  test('refuses every truncation', () => {
    const text = encodeBmap(sample);
    for (let length = 0; length < text.length - 1; length++) {
      expect(() => decodeBmap(text.slice(0, length)), `${length}`).toThrow(ProtocolError);
    }
  });
});
