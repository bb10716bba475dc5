/**
 * Grows DATA to the end of the disk and sets the marks in its GPT entry, safe against a power cut at any
 * moment: the backup table goes first, at its new place, then the primary one.
 */
import { open } from 'node:fs/promises';
import { runCommand } from '../base/run-command.ts';
import { tools } from '../base/tools.ts';
import { sectorBytes } from '../contract/disk-layout.ts';
import {
  decodeGpt,
  encodeGpt,
  gptAreaSectors,
  gptBackupSector,
  gptLastUsableSector,
  type GptTable,
} from './gpt.ts';
import { type BlockPartition, partitionSizeBytes } from './partitions.ts';

/** Partitions end where an erase block may: 1 MiB. */
const alignmentSectors = 2048;

export interface EntryChange {
  readonly number: number;
  readonly attributes: bigint;
}

/**
 * The table with partition `number` reaching to the end of a disk of `diskSizeBytes` (never made smaller)
 * and with the attributes given. Pure.
 * @throws RangeError when there is no such partition, or it is not the last one on the disk
 */
export function planGrowth(table: GptTable, diskSizeBytes: number, change: EntryChange): GptTable {
  const partition = table.partitions.find(({ number }) => number === change.number);
  if (partition === undefined) throw new RangeError(`There is no partition ${change.number}`);
  if (table.partitions.some(({ firstSector }) => firstSector > partition.lastSector)) {
    throw new RangeError(`Partition ${change.number} is not the last one`);
  }
  const endSector = gptLastUsableSector(diskSizeBytes) + 1;
  const alignedEndSector = endSector - (endSector % alignmentSectors);
  const grown = {
    ...partition,
    lastSector: Math.max(partition.lastSector, alignedEndSector - 1),
    attributes: change.attributes,
  };
  return { ...table, partitions: table.partitions.map((one) => (one === partition ? grown : one)) };
}

/**
 * Reads the disk's table: the primary, or where that is damaged the backup at the end of the disk.
 * @throws ProtocolError when neither can be used
 */
export async function readTable({ disk, diskSizeBytes }: BlockPartition): Promise<GptTable> {
  await using file = await open(disk, 'r');
  const read = async (sector: number): Promise<Uint8Array> => {
    const area = new Uint8Array(gptAreaSectors * sectorBytes);
    const { bytesRead } = await file.read(area, 0, area.length, sector * sectorBytes);
    return area.subarray(0, bytesRead);
  };
  const primary = await read(1);
  try {
    return decodeGpt(primary, 'primary');
  } catch (error) {
    try {
      return decodeGpt(await read(gptBackupSector(diskSizeBytes)), 'backup');
    } catch {
      throw error;
    }
  }
}

/**
 * Writes both copies and tells the kernel about the partition's new size.
 * @returns false when the kernel goes on with the old size until the next start
 */
export async function writeTable(
  partition: BlockPartition,
  table: GptTable,
  signal: AbortSignal,
): Promise<boolean> {
  const { disk, diskSizeBytes, number } = partition;
  const { primary, backup } = encodeGpt({ ...table, diskSizeBytes });
  {
    await using file = await open(disk, 'r+');
    for (const { firstSector, bytes } of [backup, primary]) {
      await file.write(bytes, 0, bytes.length, firstSector * sectorBytes);
      await file.sync();
    }
  }
  const entry = table.partitions.find((one) => one.number === number);
  const wantedBytes = entry === undefined ? 0 : (entry.lastSector - entry.firstSector + 1) * sectorBytes;
  if ((await partitionSizeBytes(partition)) === wantedBytes) return true;
  // BLKRRPART is refused while a partition of the disk is mounted; partx(8) changes only this one (BLKPG).
  await runCommand([tools.partx, '--update', '--nr', String(number), disk], { signal }).catch(() => {});
  return (await partitionSizeBytes(partition)) === wantedBytes;
}
