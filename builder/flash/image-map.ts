/**
 * The block map beside an image. It says nothing new about what must be written (plan.ts knows, and a map
 * that somebody made of the bare file does not); it proves, range by range, that the image is the one that
 * was built.
 */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { messageOf, systemCode } from '../../appliance/base/errors.ts';
import { type Bmap, decodeBmap, maxBmapBytes } from '../formats/bmap.ts';
import { FlashError } from './disk.ts';

export interface ImageMap {
  readonly path: string;
  readonly bmap: Bmap;
}

/**
 * The map of an image, by the names bmaptool(1) looks for: `relay.img.zst.bmap`, `relay.img.bmap`,
 * `relay.bmap`.
 * @param sizeBytes what the image says of itself
 * @throws FlashError 'image' when there is one that cannot be read, is damaged, or is for another image
 */
export async function findImageMap(imagePath: string, sizeBytes: number): Promise<ImageMap | undefined> {
  const plain = imagePath.replace(/\.(?:zst|xz|gz)$/, '');
  for (const name of new Set([imagePath, plain, plain.replace(/\.img$/, '')])) {
    const path = `${name}.bmap`;
    const text = await readMap(path);
    if (text === undefined) continue;
    let bmap: Bmap;
    try {
      bmap = decodeBmap(text);
    } catch (error) {
      throw refuse(path, `cannot be used: ${messageOf(error)}`, error);
    }
    if (bmap.imageBytes === sizeBytes) return { path, bmap };
    throw refuse(path, `is for an image of ${bmap.imageBytes} bytes, and ${imagePath} has ${sizeBytes}`);
  }
  return undefined;
}

async function readMap(path: string): Promise<string | undefined> {
  try {
    const { size } = await stat(path);
    if (size > maxBmapBytes) throw refuse(path, `has ${size} bytes, so it is something else`);
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error instanceof FlashError ? error : refuse(path, `cannot be read: ${messageOf(error)}`, error);
  }
}

function refuse(path: string, why: string, cause?: unknown): FlashError {
  return new FlashError(
    'image',
    `The block map ${path} ${why}`,
    'Put the .bmap there that came with this image; without any, the image is written without that check',
    { cause },
  );
}

/** Whether any byte of a piece of the image is in one of the map's ranges. */
export function isMapped(
  { bmap: { blockBytes, ranges } }: ImageMap,
  offset: number,
  length: number,
): boolean {
  const [first, last] = [Math.floor(offset / blockBytes), Math.floor((offset + length - 1) / blockBytes)];
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ranges[middle]?.lastBlock ?? 0) < first) low = middle + 1;
    else high = middle;
  }
  return (ranges[low]?.firstBlock ?? Infinity) <= last;
}

/**
 * `blocks`, which are all of the image in order, as they are.
 * @throws FlashError 'image' at the end of the first range that is not what the map says
 */
export async function* checkedByMap(
  blocks: AsyncIterable<Uint8Array>,
  imagePath: string,
  { path, bmap: { blockBytes, imageBytes, ranges } }: ImageMap,
): AsyncGenerator<Uint8Array, void, undefined> {
  let position = 0;
  let [current, ...rest] = ranges;
  rest.reverse();
  let hash = createHash('sha256');
  for await (const block of blocks) {
    const end = position + block.length;
    while (current !== undefined) {
      const startBytes = current.firstBlock * blockBytes;
      const endBytes = Math.min(imageBytes, (current.lastBlock + 1) * blockBytes);
      if (startBytes >= end) break;
      hash.update(block.subarray(Math.max(0, startBytes - position), Math.min(end, endBytes) - position));
      if (endBytes > end) break;
      if (hash.digest('hex') !== current.sha256) {
        throw new FlashError(
          'image',
          `${imagePath} is not what ${path} says, in the bytes ${startBytes} to ${endBytes - 1}: one of them is damaged, or they belong to different images`,
          'Copy or download both again, or build them again',
        );
      }
      hash = createHash('sha256');
      current = rest.pop();
    }
    position = end;
    yield block;
  }
}
