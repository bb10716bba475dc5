/**
 * Where things lie on the disk (house: 512-byte sectors, GPT with a hybrid MBR, four partitions).
 * The builder writes it, the appliance finds its partitions by these names; no other place knows numbers.
 */

export const sectorBytes = 512;
const mebibyte = 1024 * 1024;

export type Slot = 'a' | 'b';

export const partitionNames = { boot: 'BOOT', rootA: 'ROOT-A', rootB: 'ROOT-B', data: 'DATA' } as const;

export function rootPartitionName(slot: Slot): 'ROOT-A' | 'ROOT-B' {
  return slot === 'a' ? partitionNames.rootA : partitionNames.rootB;
}

/** Partitions in order of their number, sizes in bytes. */
export const diskLayout = {
  /** 1 MiB, where every partitioning tool starts. LBA 34–2047 stay free. */
  firstSector: 2048,
  /** ≥ 65,525 clusters of 4 KiB, or a Pi's boot ROM takes it for FAT16 (facts/boot.md §1). */
  bootBytes: 288 * mebibyte,
  bootClusterBytes: 4096,
  /** Room for a root four times today's, and for its dm-verity tree. */
  rootBytes: 512 * mebibyte,
  /** What the image file holds of DATA: the appliance grows it to the end of the disk on first boot. */
  dataBytes: 64 * mebibyte,
} as const;

/**
 * GPT attribute bit 48 on DATA (type-specific): set by the appliance once DATA has been formatted.
 * Formatting is decided by this mark and by an all-zero start of the partition, never by "it does not mount".
 */
export const dataFormattedAttribute = 1n << 48n;
