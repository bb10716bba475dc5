/**
 * What of an image must be written. An image is mostly holes, and writing zeros takes a card minutes, but a
 * used card does not read as zeros where nothing is written. So a hole is left out only where nobody ever
 * reads it:
 *
 * | region                           | written                                                          |
 * |----------------------------------|------------------------------------------------------------------|
 * | partition tables                 | always                                                           |
 * | first 4 MiB of each partition    | always: the appliance formats DATA only if it starts with zeros, and no tool may find an old filesystem |
 * | BOOT (FAT32)                     | up to the last cluster in use                                    |
 * | root (squashfs)                  | up to its end, or the last byte that is not zero                 |
 * | a partition with other content   | all of it                                                        |
 * | the rest of a partition          | never                                                            |
 */
import { createHash } from 'node:crypto';
import { sectorBytes } from '../../appliance/contract/disk-layout.ts';
import type { GptPartition } from '../../appliance/disk/gpt.ts';
import { type FlashImage, imageBlockBytes } from './image.ts';

/** Where ext4, XFS, btrfs, LUKS, LVM … have their first superblock, with room to spare. */
export const clearedBytes = 4 * 1024 * 1024;

export interface PlannedBlock {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** SHA-256, hexadecimal: what the disk is compared with. */
  readonly digest: string;
}

export interface FlashPlan {
  readonly imageBytes: number;
  /** In the order of their offsets. */
  readonly blocks: readonly PlannedBlock[];
  readonly writtenBytes: number;
}

const zeroBlock = Buffer.alloc(imageBlockBytes);
const zeroDigest = createHash('sha256').update(zeroBlock).digest('hex');

/**
 * Reads the whole image once, which also proves that it is whole.
 * @throws FlashError 'image'
 */
export async function planFlash(
  image: FlashImage,
  signal: AbortSignal,
  onProgress: (doneBytes: number, totalBytes: number) => void = () => {},
): Promise<FlashPlan> {
  const all: (PlannedBlock & { readonly isZero: boolean })[] = [];
  const heads = image.table.partitions.map((partition) => ({
    partition,
    bytes: Buffer.alloc(Math.min(clearedBytes, sizeOf(partition))),
  }));
  let offsetBytes = 0;
  for await (const block of image.blocks(signal)) {
    const isZero = zeroBlock.compare(block, 0, block.length, 0, block.length) === 0;
    const digest =
      isZero && block.length === imageBlockBytes
        ? zeroDigest
        : createHash('sha256').update(block).digest('hex');
    all.push({ offsetBytes, sizeBytes: block.length, digest, isZero });
    for (const { partition, bytes } of heads) {
      const at = offsetBytes - partition.firstSector * sectorBytes;
      if (at < bytes.length && at + block.length > 0) {
        bytes.set(
          block.subarray(Math.max(0, -at), Math.min(block.length, bytes.length - at)),
          Math.max(0, at),
        );
      }
    }
    offsetBytes += block.length;
    onProgress(offsetBytes, image.sizeBytes);
  }
  const unused = heads.map(({ partition, bytes }) => unusedRange(partition, bytes, all));
  const blocks = all
    .filter((block) => !unused.some((range) => isInside(block, range)))
    .map(({ offsetBytes: at, sizeBytes, digest }) => ({ offsetBytes: at, sizeBytes, digest }));
  return {
    imageBytes: offsetBytes,
    blocks,
    writtenBytes: blocks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
  };
}

interface Range {
  readonly startBytes: number;
  readonly endBytes: number;
}

function isInside({ offsetBytes, sizeBytes }: PlannedBlock, { startBytes, endBytes }: Range): boolean {
  return offsetBytes >= startBytes && offsetBytes + sizeBytes <= endBytes;
}

function sizeOf({ firstSector, lastSector }: GptPartition): number {
  return (lastSector - firstSector + 1) * sectorBytes;
}

/** The end of a partition that need not be written; it may be empty. */
function unusedRange(
  partition: GptPartition,
  head: Uint8Array,
  blocks: readonly (PlannedBlock & { readonly isZero: boolean })[],
): Range {
  const partitionBytes = sizeOf(partition);
  const start = partition.firstSector * sectorBytes;
  const lastContent = blocks.findLast(
    ({ offsetBytes, sizeBytes, isZero }) =>
      !isZero && offsetBytes < start + partitionBytes && offsetBytes + sizeBytes > start,
  );
  const contentBytes =
    lastContent === undefined ? 0 : lastContent.offsetBytes + lastContent.sizeBytes - start;
  const formatBytes = contentBytes === 0 ? 0 : (usedBytes(head) ?? partitionBytes);
  const used = Math.min(partitionBytes, Math.max(clearedBytes, contentBytes, formatBytes));
  return { startBytes: start + used, endBytes: start + partitionBytes };
}

/**
 * How much of its partition a filesystem uses, by its first `clearedBytes`.
 * @returns undefined when it is neither squashfs nor FAT32, or says something senseless
 */
export function usedBytes(head: Uint8Array): number | undefined {
  if (head.length < 512) return undefined;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  // Linux, squashfs_fs.h, struct squashfs_super_block: s_magic 0, bytes_used 40.
  if (view.getUint32(0, true) === 0x73717368) return Number(view.getBigUint64(40, true));
  return fat32UsedBytes(view);
}

/**
 * Microsoft FAT specification 1.03: bytes per sector 11, sectors per cluster 13, reserved sectors 14, FATs
 * 16, sectors 32, sectors of a FAT 36, type 82.
 */
function fat32UsedBytes(view: DataView): number | undefined {
  const type = Buffer.from(view.buffer, view.byteOffset + 82, 8).toString('latin1');
  const sector = view.getUint16(11, true);
  const clusterSectors = view.getUint8(13);
  if (type !== 'FAT32   ' || sector !== sectorBytes || clusterSectors === 0) return undefined;
  const fatStart = view.getUint16(14, true) * sector;
  const fatSectors = view.getUint32(36, true);
  const dataStart = fatStart + view.getUint8(16) * fatSectors * sector;
  const clusterBytes = clusterSectors * sector;
  const clusters = Math.floor((view.getUint32(32, true) * sector - dataStart) / clusterBytes);
  const fatEnd = fatStart + (clusters + 2) * 4;
  if (clusters < 1 || fatEnd > fatStart + fatSectors * sector || fatEnd > view.byteLength) return undefined;
  // The upper four bits of an entry are reserved; zero means free.
  for (let cluster = clusters + 1; cluster >= 2; cluster--) {
    if ((view.getUint32(fatStart + cluster * 4, true) & 0x0fffffff) !== 0) {
      return dataStart + (cluster - 1) * clusterBytes;
    }
  }
  return dataStart;
}
