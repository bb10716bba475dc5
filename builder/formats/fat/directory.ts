/**
 * Directory entries of a FAT volume, 32 bytes each; a long name stands in further ones before its file's.
 * Source: Microsoft's FAT specification 1.03, "FAT directory structure".
 *
 * | offset | bytes | short entry                 | long entry                |
 * |--------|-------|-----------------------------|---------------------------|
 * | 0      | 1     | name (11)                   | order, 0x40 on the last   |
 * | 11     | 1     | attributes                  | 0x0F                      |
 * | 12     | 1     | 0 (case bits of Windows NT) | 0                         |
 * | 13     | 1     | creation time, 10 ms units  | checksum of the short one |
 * | 14     | 4     | creation time, date         | name, units 6–11 (12)     |
 * | 18     | 2     | access date                 |                           |
 * | 20     | 2     | first cluster, high         |                           |
 * | 22     | 4     | write time, date            |                           |
 * | 26     | 2     | first cluster, low          | 0                         |
 * | 28     | 4     | size in bytes               | name, units 12–13         |
 */
import type { FatName } from './names.ts';

export const direntBytes = 32;

/** Attribute bits. */
export const fatAttributes = {
  readOnly: 0x01,
  hidden: 0x02,
  system: 0x04,
  volumeLabel: 0x08,
  directory: 0x10,
  archive: 0x20,
} as const;

const longNameAttributes = 0x0f;
const lastLongEntry = 0x40;
const unitsPerLongEntry = 13;
/** Where the 13 units of a long entry stand. */
const unitOffsets = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30] as const;

export interface Dirent {
  readonly name: FatName;
  readonly attributes: number;
  readonly mtimeSec: number;
  /** 0 for an empty file, and for `..` of a child of the root. */
  readonly firstCluster: number;
  /** 0 for directories. */
  readonly sizeBytes: number;
}

/** The name of `.`, `..` or a volume label: no long form, any bytes. */
export function fixedName(text: string): FatName {
  return { short: Buffer.from(text.padEnd(11), 'latin1'), long: undefined };
}

/** How many 32-byte entries a name takes. */
export function direntCount({ long }: FatName): number {
  return 1 + (long === undefined ? 0 : Math.ceil(long.length / unitsPerLongEntry));
}

export function encodeDirents(dirents: readonly Dirent[]): Uint8Array {
  const count = dirents.reduce((sum, { name }) => sum + direntCount(name), 0);
  const bytes = new Uint8Array(count * direntBytes);
  let offset = 0;
  for (const dirent of dirents) {
    const entries = direntCount(dirent.name);
    if (dirent.name.long !== undefined) {
      encodeLongName(bytes.subarray(offset), dirent.name.long, checksum(dirent.name.short));
    }
    offset += (entries - 1) * direntBytes;
    encodeShortEntry(bytes.subarray(offset, offset + direntBytes), dirent);
    offset += direntBytes;
  }
  return bytes;
}

function encodeShortEntry(bytes: Uint8Array, dirent: Dirent): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const { date, time, tenMs } = encodeDosTime(dirent.mtimeSec);
  bytes.set(dirent.name.short);
  view.setUint8(11, dirent.attributes);
  view.setUint8(13, tenMs);
  view.setUint16(14, time, true);
  view.setUint16(16, date, true);
  view.setUint16(18, date, true);
  view.setUint16(20, dirent.firstCluster >>> 16, true);
  view.setUint16(22, time, true);
  view.setUint16(24, date, true);
  view.setUint16(26, dirent.firstCluster & 0xffff, true);
  view.setUint32(28, dirent.sizeBytes, true);
}

/** Writes the entries of a long name, last part first; after the name a zero, then 0xFFFF to the end. */
function encodeLongName(bytes: Uint8Array, name: string, shortChecksum: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const entries = Math.ceil(name.length / unitsPerLongEntry);
  for (let order = entries; order >= 1; order--) {
    const offset = (entries - order) * direntBytes;
    view.setUint8(offset, order === entries ? order | lastLongEntry : order);
    view.setUint8(offset + 11, longNameAttributes);
    view.setUint8(offset + 13, shortChecksum);
    for (const [index, unitOffset] of unitOffsets.entries()) {
      const position = (order - 1) * unitsPerLongEntry + index;
      const unit = position < name.length ? name.charCodeAt(position) : position === name.length ? 0 : 0xffff;
      view.setUint16(offset + unitOffset, unit, true);
    }
  }
}

/** FAT specification 1.03, ChkSum(): rotate right, add. */
function checksum(short: Uint8Array): number {
  return short.reduce((sum, byte) => (((sum & 1) << 7) + (sum >> 1) + byte) & 0xff, 0);
}

/** The range of DOS times: 1980-01-01 to 2107-12-31 23:59:59, here in UTC. */
const firstDosSec = Date.UTC(1980, 0, 1) / 1000;
const lastDosSec = Date.UTC(2108, 0, 1) / 1000 - 1;

/** Times outside what DOS can express become the nearest it can. */
export function encodeDosTime(sec: number): { date: number; time: number; tenMs: number } {
  const clamped = Math.min(Math.max(Math.floor(sec), firstDosSec), lastDosSec);
  const when = new Date(clamped * 1000);
  return {
    date: ((when.getUTCFullYear() - 1980) << 9) | ((when.getUTCMonth() + 1) << 5) | when.getUTCDate(),
    time: (when.getUTCHours() << 11) | (when.getUTCMinutes() << 5) | (when.getUTCSeconds() >> 1),
    tenMs: (when.getUTCSeconds() & 1) * 100,
  };
}
