/**
 * An image to be flashed: `.img`, or the same compressed with zstd or xz. Told from other files by its
 * partition table, whose header also says how long the whole is, so that a broken download is found out
 * before anything is written. With a block map beside it, every range is held against its checksum too.
 */
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { messageOf, systemCode } from '../../appliance/base/errors.ts';
import { partitionNames, sectorBytes } from '../../appliance/contract/disk-layout.ts';
import { decodeGpt, gptAreaSectors, type GptTable } from '../../appliance/disk/gpt.ts';
import { compressionOf, decompress, magicBytes } from '../formats/decompress.ts';
import { FlashError } from './disk.ts';
import { checkedByMap, findImageMap, type ImageMap, isMapped } from './image-map.ts';

/** Images are read, compared and written in blocks of so many bytes; partitions begin where one does. */
export const imageBlockBytes = 1024 * 1024;
/** Our images have 1.4 GB. A header that claims more than this is no image of ours. */
const maxImageBytes = 64 * 1024 ** 3;
const areaBytes = gptAreaSectors * sectorBytes;

export interface FlashImage {
  readonly path: string;
  readonly isCompressed: boolean;
  /** Uncompressed. */
  readonly sizeBytes: number;
  readonly table: GptTable;
  /** Where the block map lies that the image is held against; undefined when there is none beside it. */
  readonly mapPath?: string | undefined;
  /**
   * The image from its start, in blocks of `imageBlockBytes` (the last may be shorter). A block is the
   * caller's only until the next one is asked for.
   * @throws FlashError 'image' when the file is truncated, damaged, too long, or not what its map says; a
   *   wrong range is told at its end at the latest
   */
  blocks(signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined>;
}

/**
 * Opens an image far enough to know that it is one of ours and how large it is.
 * @throws FlashError 'image'
 */
export async function openImage(path: string, signal: AbortSignal): Promise<FlashImage> {
  const { isCompressed, fileBytes } = await inspectFile(path);
  let start: Uint8Array | undefined;
  for await (const block of rawBlocks(path, isCompressed, undefined, signal)) {
    start = block;
    break;
  }
  if (start === undefined || start.length < sectorBytes + areaBytes) throw notOurs(path, 'it is too short');
  const area = start.subarray(sectorBytes, sectorBytes + areaBytes);
  let table: GptTable;
  try {
    table = decodeGpt(area, 'primary');
  } catch (error) {
    throw notOurs(path, 'it has no partition table', error);
  }
  const names = table.partitions.map(({ name }) => name);
  if (names.join() !== Object.values(partitionNames).join()) {
    throw notOurs(path, `its partitions are ${names.join(', ') || 'none'}`);
  }
  // UEFI 2.10 table 5.5: the sector of the other header, which is the last one. decodeGpt has checked its CRC.
  const lastSector = new DataView(area.buffer, area.byteOffset).getBigUint64(32, true);
  const sizeBytes = (Number(lastSector) + 1) * sectorBytes;
  if (sizeBytes > maxImageBytes) throw notOurs(path, `its table is for ${sizeBytes} bytes`);
  if (!isCompressed && fileBytes !== sizeBytes) throw wrongLength(path, fileBytes, sizeBytes);
  const map = await findImageMap(path, sizeBytes);
  return {
    path,
    isCompressed,
    sizeBytes,
    table,
    mapPath: map?.path,
    blocks: (abort) => {
      const blocks = checkedBlocks(rawBlocks(path, isCompressed, map, abort), path, sizeBytes);
      return map === undefined ? blocks : checkedByMap(blocks, path, map);
    },
  };
}

async function inspectFile(path: string): Promise<{ isCompressed: boolean; fileBytes: number }> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    const why = systemCode(error) === 'ENOENT' ? 'There is no such file' : messageOf(error);
    throw new FlashError(
      'image',
      `The image ${path} cannot be read: ${why}`,
      'Check the path, or build one: chatmail-build --domain chat.example.org',
      { cause: error },
    );
  }
  await using _ = file;
  const status = await file.stat();
  if (!status.isFile()) throw notOurs(path, 'it is not a file');
  const magic = Buffer.alloc(magicBytes);
  const { bytesRead } = await file.read(magic, 0, magicBytes, 0);
  const isCompressed = compressionOf(magic.subarray(0, bytesRead)) !== undefined;
  return { isCompressed, fileBytes: status.size };
}

function notOurs(path: string, why: string, cause?: unknown): FlashError {
  return new FlashError(
    'image',
    `${path} is no image made by chatmail-build: ${why}`,
    'Build one (chatmail-build --domain chat.example.org) and name its .img, .img.zst or .img.xz',
    { cause },
  );
}

function wrongLength(path: string, foundBytes: number | string, sizeBytes: number): FlashError {
  const isShort = typeof foundBytes === 'string' || foundBytes < sizeBytes;
  return new FlashError(
    'image',
    `${path} is ${isShort ? 'truncated' : 'longer than it was built'}: it has ${foundBytes} bytes, and its partition table says ${sizeBytes}`,
    isShort
      ? 'Copy or download it again, or build it again'
      : 'Use the image as it was built, or build it again',
  );
}

/** Reads on into the sizes: the blocks of the file must be as many bytes as its table says. */
async function* checkedBlocks(
  blocks: AsyncIterable<Uint8Array>,
  path: string,
  sizeBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let position = 0;
  let ending: Uint8Array = Buffer.alloc(0);
  for await (const block of blocks) {
    position += block.length;
    if (position > sizeBytes) throw wrongLength(path, 'more', sizeBytes);
    if (position > sizeBytes - areaBytes) {
      ending = Buffer.concat([ending, block]).subarray(-areaBytes);
    } else if (position + imageBlockBytes >= sizeBytes) ending = Buffer.from(block.subarray(-areaBytes));
    if (position === sizeBytes) {
      try {
        decodeGpt(ending, 'backup');
      } catch (error) {
        throw notOurs(path, 'the copy of its partition table at the end is damaged', error);
      }
    }
    yield block;
  }
  if (position < sizeBytes) throw wrongLength(path, position, sizeBytes);
}

/** The bytes of the file, unpacked, in blocks. */
function rawBlocks(
  path: string,
  isCompressed: boolean,
  map: ImageMap | undefined,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  return isCompressed ? unpackedBlocks(path, signal) : fileBlocks(path, map, signal);
}

/** What no range of the map covers is a hole: it is not read, and taken to be zeros. */
async function* fileBlocks(
  path: string,
  map: ImageMap | undefined,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  await using file = await open(path, 'r');
  const { size } = await file.stat();
  const block = Buffer.alloc(imageBlockBytes);
  const hole = Buffer.alloc(imageBlockBytes);
  for (let start = 0; start < size; start += block.length) {
    const length = Math.min(block.length, size - start);
    if (map !== undefined && !isMapped(map, start, length)) {
      yield hole.subarray(0, length);
      continue;
    }
    let filled = 0;
    while (filled < length) {
      signal.throwIfAborted();
      const { bytesRead } = await file.read(block, filled, length - filled, start + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    if (filled > 0) yield block.subarray(0, filled);
    if (filled < length) return;
  }
}

async function* unpackedBlocks(
  path: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const file = createReadStream(path, { highWaterMark: imageBlockBytes, signal });
  const block = Buffer.alloc(imageBlockBytes);
  let filled = 0;
  try {
    for await (const chunk of decompress(file, {
      maxOutputBytes: maxImageBytes,
      chunkBytes: imageBlockBytes,
      signal,
    })) {
      for (let at = 0; at < chunk.length;) {
        const length = Math.min(chunk.length - at, imageBlockBytes - filled);
        block.set(chunk.subarray(at, at + length), filled);
        at += length;
        filled += length;
        if (filled < imageBlockBytes) continue;
        filled = 0;
        yield block;
      }
    }
  } catch (error) {
    signal.throwIfAborted();
    throw new FlashError(
      'image',
      `${path} is damaged or truncated: ${messageOf(error)}`,
      'Copy or download it again, or build it again',
      { cause: error },
    );
  } finally {
    file.destroy();
  }
  if (filled > 0) yield block.subarray(0, filled);
}
