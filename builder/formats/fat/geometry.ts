/**
 * The reserved area of a FAT32 volume: boot sector with the BIOS parameter block, FSInfo, and their
 * backups. Source: Microsoft's FAT specification 1.03, "Boot Sector and BPB" and "FSInfo".
 */

export const sectorBytes = 512;
export const fatCopies = 2;
/** Clusters are numbered from 2. */
export const firstCluster = 2;
/** FAT specification 1.03, "FAT Type Determination": fewer clusters, and every reader takes it for FAT16. */
export const minClusters = 65_525;
/** 28-bit numbers, of which the highest mean "bad" and "end". */
const maxClusters = 0x0fff_fff5;
/** As every formatting tool has it; the rest of the area pads the data to whole clusters. */
const minReservedSectors = 32;
const fsInfoSector = 1;
export const backupBootSector = 6;

export interface FatGeometry {
  readonly sizeSectors: number;
  readonly sectorsPerCluster: number;
  readonly reservedSectors: number;
  readonly sectorsPerFat: number;
  /** Where cluster 2 begins. A multiple of the cluster size, so that flash pages are not straddled. */
  readonly dataSector: number;
  readonly clusterCount: number;
}

/** @throws RangeError when the sizes make no FAT32 volume */
export function planGeometry(sizeBytes: number, clusterBytes: number): FatGeometry {
  const sectorsPerCluster = clusterBytes / sectorBytes;
  if (![1, 2, 4, 8, 16, 32, 64].includes(sectorsPerCluster)) {
    throw new RangeError(`A FAT cluster of ${clusterBytes} bytes is not a power of two in 512–32768`);
  }
  const sizeSectors = Math.floor(sizeBytes / sectorBytes);
  if (sizeSectors > 0xffff_ffff) throw new RangeError(`${sizeBytes} bytes are too many for FAT32`);
  const mostClusters = Math.floor((sizeSectors - minReservedSectors) / sectorsPerCluster);
  const sectorsPerFat = Math.ceil(((mostClusters + firstCluster) * 4) / sectorBytes);
  const dataSector =
    Math.ceil((minReservedSectors + fatCopies * sectorsPerFat) / sectorsPerCluster) * sectorsPerCluster;
  const clusterCount = Math.floor((sizeSectors - dataSector) / sectorsPerCluster);
  if (clusterCount < minClusters || clusterCount > maxClusters) {
    throw new RangeError(
      `${sizeBytes} bytes make ${Math.max(clusterCount, 0)} clusters of ${clusterBytes}, and FAT32 has ${minClusters}–${maxClusters}: change one of the sizes`,
    );
  }
  const reservedSectors = dataSector - fatCopies * sectorsPerFat;
  return { sizeSectors, sectorsPerCluster, reservedSectors, sectorsPerFat, dataSector, clusterCount };
}

export interface FatIdentity {
  /** The serial number, any 32 bits. */
  readonly volumeId: number;
  /** At most 11 characters: A–Z, 0–9, space, - and _. */
  readonly label: string;
  /** Sectors before the volume on its disk: boot code reads it. */
  readonly hiddenSectors: number;
  /** Who formatted it, 8 ASCII characters; some old readers want to see the default. */
  readonly oemName?: string;
}

/** Fixed disks, in the descriptor and in the first entry of the FAT. */
export const mediaDescriptor = 0xf8;
/** INT 18h, "this disk does not boot, try the next"; should that return, halt for good. */
const bootCode = [0xcd, 0x18, 0xf4, 0xeb, 0xfd] as const;
const bootCodeOffset = 90;

export function encodeBootSector(geometry: FatGeometry, identity: FatIdentity): Uint8Array {
  const { label, oemName = 'MSWIN4.1' } = identity;
  if (!/^[A-Z0-9 _-]{1,11}$/.test(label) || label.startsWith(' ')) {
    throw new RangeError(`${JSON.stringify(label)} is not a FAT label`);
  }
  if (!/^[ -~]{1,8}$/.test(oemName)) throw new RangeError(`${JSON.stringify(oemName)} is not an OEM name`);
  const bytes = new Uint8Array(sectorBytes);
  const view = new DataView(bytes.buffer);
  bytes.set([0xeb, bootCodeOffset - 2, 0x90]);
  bytes.set(Buffer.from(oemName.padEnd(8), 'latin1'), 3);
  view.setUint16(11, sectorBytes, true);
  view.setUint8(13, geometry.sectorsPerCluster);
  view.setUint16(14, geometry.reservedSectors, true);
  view.setUint8(16, fatCopies);
  view.setUint8(21, mediaDescriptor);
  // Sectors per track and heads: what BIOSes assume where LBA decides.
  view.setUint16(24, 63, true);
  view.setUint16(26, 255, true);
  view.setUint32(28, identity.hiddenSectors, true);
  view.setUint32(32, geometry.sizeSectors, true);
  view.setUint32(36, geometry.sectorsPerFat, true);
  view.setUint32(44, firstCluster, true); // of the root directory
  view.setUint16(48, fsInfoSector, true);
  view.setUint16(50, backupBootSector, true);
  view.setUint8(64, 0x80); // BIOS number of the first disk
  view.setUint8(66, 0x29); // the three fields below are there
  view.setUint32(67, identity.volumeId, true);
  bytes.set(Buffer.from(label.padEnd(11), 'latin1'), 71);
  bytes.set(Buffer.from('FAT32   ', 'latin1'), 82);
  bytes.set(bootCode, bootCodeOffset);
  view.setUint16(510, 0xaa55, true);
  return bytes;
}

export function encodeFsInfo(freeClusters: number, nextFreeCluster: number): Uint8Array {
  const bytes = new Uint8Array(sectorBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x4161_5252, true);
  view.setUint32(484, 0x6141_7272, true);
  view.setUint32(488, freeClusters, true);
  view.setUint32(492, nextFreeCluster, true);
  view.setUint16(510, 0xaa55, true);
  return bytes;
}
