/**
 * Block maps (.bmap): which blocks of a disk image must be written, with a checksum for each range of them.
 * Tizen's and Yocto's format, version 2.0, as bmaptool(1) of Debian's bmap-tools writes and reads it
 * (bmaptools/BmapCreate.py, BmapCopy.py); earlier versions, which check less, are refused. Pure.
 */
import { createHash } from 'node:crypto';
import { ProtocolError } from '../../appliance/base/errors.ts';

export interface BmapRange {
  readonly firstBlock: number;
  /** The last block of the range itself. */
  readonly lastBlock: number;
  /** Of the range's bytes, hexadecimal. */
  readonly sha256: string;
}

export interface Bmap {
  readonly imageBytes: number;
  readonly blockBytes: number;
  /** In the order of their blocks, apart from each other. */
  readonly ranges: readonly BmapRange[];
}

/** A range for every second block of an image of 2 GiB; ours have one for each MiB of content. */
export const maxBmapBytes = 32 * 1024 * 1024;
const maxBlockBytes = 16 * 1024 * 1024;

const zeroChecksum = '0'.repeat(64);

/**
 * The text of a block map.
 * @throws RangeError when the ranges are not in order, or outside the image
 */
export function encodeBmap({ imageBytes, blockBytes, ranges }: Bmap): string {
  const blocksCount = Math.ceil(imageBytes / blockBytes);
  const problem = rangesProblem(ranges, blocksCount);
  if (problem !== undefined) throw new RangeError(problem);
  const lines = [
    '<?xml version="1.0" ?>',
    '<bmap version="2.0">',
    `    <ImageSize> ${imageBytes} </ImageSize>`,
    `    <BlockSize> ${blockBytes} </BlockSize>`,
    `    <BlocksCount> ${blocksCount} </BlocksCount>`,
    `    <MappedBlocksCount> ${mappedBlocks(ranges)} </MappedBlocksCount>`,
    '    <ChecksumType> sha256 </ChecksumType>',
    `    <BmapFileChecksum> ${zeroChecksum} </BmapFileChecksum>`,
    '    <BlockMap>',
    ...ranges.map(
      ({ firstBlock, lastBlock, sha256 }) =>
        `        <Range chksum="${sha256}"> ${firstBlock === lastBlock ? firstBlock : `${firstBlock}-${lastBlock}`} </Range>`,
    ),
    '    </BlockMap>',
    '</bmap>',
    '',
  ];
  const text = lines.join('\n');
  return text.replace(zeroChecksum, sha256Of(text));
}

/**
 * @throws ProtocolError when it is no block map of version 2.0 with SHA-256, or not what its own checksum says
 */
export function decodeBmap(text: string): Bmap {
  if (text.length > maxBmapBytes) throw new ProtocolError(`The block map has ${text.length} characters`);
  const body = text.replace(/<!--.*?-->/gs, '');
  const version = /<bmap\s+version="([^"]*)"\s*>/.exec(body)?.[1];
  if (version === undefined) throw new ProtocolError('It is not a block map');
  if (!/^2\.\d+$/.test(version)) {
    throw new ProtocolError(`It has version ${JSON.stringify(version)}, and only 2.0 is known`);
  }
  const checksumType = valueOf(body, 'ChecksumType');
  if (checksumType !== 'sha256') {
    throw new ProtocolError(`Its checksums are ${JSON.stringify(checksumType)}, and only sha256 is known`);
  }
  const checksum = valueOf(body, 'BmapFileChecksum');
  // The checksum is that of the file with zeros in its own place; comments count too.
  if (!/^[0-9a-f]{64}$/.test(checksum) || sha256Of(text.replace(checksum, zeroChecksum)) !== checksum) {
    throw new ProtocolError('Its own checksum is not right: it was changed, or is damaged');
  }
  const imageBytes = numberOf(body, 'ImageSize', Number.MAX_SAFE_INTEGER);
  const blockBytes = numberOf(body, 'BlockSize', maxBlockBytes);
  const blocksCount = numberOf(body, 'BlocksCount', Number.MAX_SAFE_INTEGER);
  if (blockBytes === 0 || blocksCount !== Math.ceil(imageBytes / blockBytes)) {
    throw new ProtocolError(`${blocksCount} blocks of ${blockBytes} bytes do not make ${imageBytes} bytes`);
  }
  const ranges = rangesOf(body);
  const problem = rangesProblem(ranges, blocksCount);
  if (problem !== undefined) throw new ProtocolError(problem);
  const mapped = numberOf(body, 'MappedBlocksCount', Number.MAX_SAFE_INTEGER);
  if (mapped !== mappedBlocks(ranges)) {
    throw new ProtocolError(`It lists ${mappedBlocks(ranges)} blocks, and says ${mapped}`);
  }
  return { imageBytes, blockBytes, ranges };
}

function valueOf(body: string, name: string): string {
  const value = new RegExp(`<${name}>\\s*([^<\\s]+)\\s*</${name}>`).exec(body)?.[1];
  if (value === undefined) throw new ProtocolError(`<${name}> is missing`);
  return value;
}

function numberOf(body: string, name: string, max: number): number {
  const text = valueOf(body, name);
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > max) {
    throw new ProtocolError(`<${name}> is ${JSON.stringify(text.slice(0, 40))}`);
  }
  return value;
}

function rangesOf(body: string): BmapRange[] {
  const inner = /<BlockMap>(.*)<\/BlockMap>/s.exec(body)?.[1];
  if (inner === undefined) throw new ProtocolError('<BlockMap> is missing');
  const ranges = [
    ...inner.matchAll(/<Range\s+chksum="([0-9a-f]{64})"\s*>\s*(\d{1,15})(?:\s*-\s*(\d{1,15}))?\s*<\/Range>/g),
  ].map(([, sha256 = '', first, last = first]) => ({
    firstBlock: Number(first),
    lastBlock: Number(last),
    sha256,
  }));
  // What the expression passed over must not be lost in silence.
  if (ranges.length !== (inner.match(/<Range\b/g)?.length ?? 0)) {
    throw new ProtocolError('A <Range> has no checksum, or is not "first-last"');
  }
  return ranges;
}

function rangesProblem(ranges: readonly BmapRange[], blocksCount: number): string | undefined {
  let next = 0;
  for (const { firstBlock, lastBlock } of ranges) {
    if (firstBlock < next || lastBlock < firstBlock) {
      return `The range ${firstBlock}-${lastBlock} is out of order`;
    }
    if (lastBlock >= blocksCount) {
      return `The range ${firstBlock}-${lastBlock} is outside the image, which has ${blocksCount} blocks`;
    }
    next = lastBlock + 1;
  }
  return undefined;
}

function mappedBlocks(ranges: readonly BmapRange[]): number {
  return ranges.reduce((sum, { firstBlock, lastBlock }) => sum + lastBlock - firstBlock + 1, 0);
}

function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
