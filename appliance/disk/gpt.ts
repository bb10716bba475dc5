/**
 * The GUID partition table, in the one shape every tool writes: 512-byte sectors, 128 entries of 128
 * bytes, the primary table in sectors 1–33 and its backup in the last 33. UEFI 2.10 §5.3; other entry
 * counts and sizes are refused. The protective or hybrid MBR in sector 0 is not part of it.
 *
 * | primary area            | backup area             |
 * |-------------------------|-------------------------|
 * | sector 1      header    | N-33…N-2   entries      |
 * | sector 2…33   entries   | N-1        header       |
 */
import { crc32 } from 'node:zlib';
import { ProtocolError } from '../base/errors.ts';

const sectorBytes = 512;
const entryCount = 128;
const entryBytes = 128;
const entriesBytes = entryCount * entryBytes;
const entriesSectors = entriesBytes / sectorBytes;
const headerBytes = 92;
const signature = 0x5452415020494645n; // "EFI PART", little-endian
const revision = 0x00010000;
/** UEFI 2.10 table 5.6: 36 UTF-16 units. */
const maxNameUnits = 36;

/** Sectors of one copy of the table: header and entries. */
export const gptAreaSectors = 1 + entriesSectors;
/** First sector a partition may use: after the MBR and the primary copy. */
export const gptFirstUsableSector = 1 + gptAreaSectors;

/** Partition types (UEFI 2.10 table 5.7, and the Linux one). */
export const partitionTypes = {
  efiSystem: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b',
  linuxFilesystem: '0fc63daf-8483-4772-8e79-3d69d8477de4',
} as const;

/** Attribute bit 2, "legacy BIOS bootable": what SYSLINUX's gptmbr.bin looks for. */
export const legacyBiosBootable = 1n << 2n;

export interface GptPartition {
  /** 1–128: what the kernel calls the partition (vda1 …). */
  readonly number: number;
  readonly name: string;
  readonly typeGuid: string;
  readonly guid: string;
  readonly firstSector: number;
  /** Inclusive. */
  readonly lastSector: number;
  readonly attributes: bigint;
}

export interface GptTable {
  readonly diskGuid: string;
  /** In order of their numbers. */
  readonly partitions: readonly GptPartition[];
}

export interface GptCopy {
  readonly firstSector: number;
  readonly bytes: Uint8Array;
}

/** Last sector a partition may use on a disk of so many bytes. */
export function gptLastUsableSector(diskSizeBytes: number): number {
  return Math.floor(diskSizeBytes / sectorBytes) - gptAreaSectors - 1;
}

/** First sector of the backup copy on a disk of so many bytes. */
export function gptBackupSector(diskSizeBytes: number): number {
  return Math.floor(diskSizeBytes / sectorBytes) - gptAreaSectors;
}

/**
 * Encodes both copies of a table for a disk of `diskSizeBytes` (a tail shorter than a sector is left out).
 * To be safe against a power cut, write and flush the backup before the primary.
 * @throws RangeError when partitions overlap, leave the usable range, share a number, or a name is too long
 */
export function encodeGpt(table: GptTable & { readonly diskSizeBytes: number }): {
  readonly primary: GptCopy;
  readonly backup: GptCopy;
} {
  checkPartitions(table.partitions, gptLastUsableSector(table.diskSizeBytes));
  const entries = encodeEntries(table.partitions);
  const diskSectors = Math.floor(table.diskSizeBytes / sectorBytes);
  const backupSector = gptBackupSector(table.diskSizeBytes);
  const header = (sector: number, otherSector: number, entriesSector: number): Uint8Array =>
    encodeHeader({ sector, otherSector, entriesSector, diskSectors, diskGuid: table.diskGuid, entries });

  const primary = new Uint8Array(gptAreaSectors * sectorBytes);
  primary.set(header(1, diskSectors - 1, 2));
  primary.set(entries, sectorBytes);
  const backup = new Uint8Array(gptAreaSectors * sectorBytes);
  backup.set(entries);
  backup.set(header(diskSectors - 1, 1, backupSector), entriesBytes);
  return {
    primary: { firstSector: 1, bytes: primary },
    backup: { firstSector: backupSector, bytes: backup },
  };
}

function checkPartitions(partitions: readonly GptPartition[], lastUsableSector: number): void {
  const numbers = new Set<number>();
  for (const { number, name, firstSector, lastSector } of partitions) {
    const where = `Partition ${number} (${name})`;
    if (!Number.isInteger(number) || number < 1 || number > entryCount) {
      throw new RangeError(`${where}: its number is not in 1–${entryCount}`);
    }
    if (numbers.has(number)) throw new RangeError(`${where}: its number is given twice`);
    numbers.add(number);
    if (name.length > maxNameUnits) {
      throw new RangeError(`${where}: its name is longer than ${maxNameUnits} UTF-16 units`);
    }
    if (!Number.isSafeInteger(firstSector) || !Number.isSafeInteger(lastSector) || lastSector < firstSector) {
      throw new RangeError(`${where}: sectors ${firstSector}–${lastSector} are no range`);
    }
    if (firstSector < gptFirstUsableSector || lastSector > lastUsableSector) {
      throw new RangeError(
        `${where}: sectors ${firstSector}–${lastSector} lie outside the usable ${gptFirstUsableSector}–${lastUsableSector}`,
      );
    }
  }
  const byPlace = partitions.toSorted((a, b) => a.firstSector - b.firstSector);
  for (const [index, next] of byPlace.entries()) {
    const previous = byPlace[index - 1];
    if (previous !== undefined && next.firstSector <= previous.lastSector) {
      throw new RangeError(`Partitions ${previous.number} and ${next.number} overlap`);
    }
  }
}

/** UEFI 2.10 table 5.6: type 0, guid 16, first 32, last 40, attributes 48, name 56. */
function encodeEntries(partitions: readonly GptPartition[]): Uint8Array {
  const bytes = new Uint8Array(entriesBytes);
  const view = new DataView(bytes.buffer);
  for (const partition of partitions) {
    const offset = (partition.number - 1) * entryBytes;
    bytes.set(encodeGuid(partition.typeGuid), offset);
    bytes.set(encodeGuid(partition.guid), offset + 16);
    view.setBigUint64(offset + 32, BigInt(partition.firstSector), true);
    view.setBigUint64(offset + 40, BigInt(partition.lastSector), true);
    view.setBigUint64(offset + 48, partition.attributes, true);
    for (let unit = 0; unit < partition.name.length; unit++) {
      view.setUint16(offset + 56 + 2 * unit, partition.name.charCodeAt(unit), true);
    }
  }
  return bytes;
}

/**
 * UEFI 2.10 table 5.5: signature 0, revision 8, header size 12, header CRC 16, this header 24, other
 * header 32, first usable 40, last usable 48, disk GUID 56, entries 72, count 80, size 84, entries CRC 88.
 */
function encodeHeader(fields: {
  readonly sector: number;
  readonly otherSector: number;
  readonly entriesSector: number;
  readonly diskSectors: number;
  readonly diskGuid: string;
  readonly entries: Uint8Array;
}): Uint8Array {
  const bytes = new Uint8Array(sectorBytes);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, signature, true);
  view.setUint32(8, revision, true);
  view.setUint32(12, headerBytes, true);
  view.setBigUint64(24, BigInt(fields.sector), true);
  view.setBigUint64(32, BigInt(fields.otherSector), true);
  view.setBigUint64(40, BigInt(gptFirstUsableSector), true);
  view.setBigUint64(48, BigInt(fields.diskSectors - gptAreaSectors - 1), true);
  bytes.set(encodeGuid(fields.diskGuid), 56);
  view.setBigUint64(72, BigInt(fields.entriesSector), true);
  view.setUint32(80, entryCount, true);
  view.setUint32(84, entryBytes, true);
  view.setUint32(88, crc32(fields.entries), true);
  view.setUint32(16, crc32(bytes.subarray(0, headerBytes)), true);
  return bytes;
}

/**
 * Decodes one copy of a table: `area` is sectors 1–33 of the disk for the primary, its last 33 for the
 * backup. The disk may have grown since: nothing is compared with its size.
 * @throws ProtocolError when the copy is damaged, or is no such table
 */
export function decodeGpt(area: Uint8Array, copy: 'primary' | 'backup'): GptTable {
  const refuse = (why: string): ProtocolError => new ProtocolError(`The ${copy} GPT cannot be used: ${why}`);
  if (area.length !== gptAreaSectors * sectorBytes) {
    throw refuse(`${area.length} bytes were read, not ${gptAreaSectors * sectorBytes}`);
  }
  // A copy, since a field of it is cleared below (and not .slice(): that of a Buffer is no copy).
  const header = new Uint8Array(
    copy === 'primary' ? area.subarray(0, sectorBytes) : area.subarray(entriesBytes),
  );
  const entries = copy === 'primary' ? area.subarray(sectorBytes) : area.subarray(0, entriesBytes);
  const view = new DataView(header.buffer);
  if (view.getBigUint64(0, true) !== signature) throw refuse('it has no signature');
  if (view.getUint32(8, true) !== revision) throw refuse('its revision is not 1.0');
  if (view.getUint32(12, true) !== headerBytes) throw refuse(`its header is not ${headerBytes} bytes long`);
  const headerCrc = view.getUint32(16, true);
  view.setUint32(16, 0, true);
  if (crc32(header.subarray(0, headerBytes)) !== headerCrc)
    throw refuse('the checksum of its header is wrong');
  if (view.getUint32(80, true) !== entryCount || view.getUint32(84, true) !== entryBytes) {
    throw refuse(`it has not ${entryCount} entries of ${entryBytes} bytes`);
  }
  const sector = view.getBigUint64(24, true);
  const entriesSector = view.getBigUint64(72, true);
  const expected = copy === 'primary' ? sector + 1n : sector - BigInt(entriesSectors);
  if (entriesSector !== expected) throw refuse('its entries are not beside its header');
  if (crc32(entries) !== view.getUint32(88, true)) throw refuse('the checksum of its entries is wrong');

  const partitions = decodeEntries(entries, refuse);
  const lastUsableSector = view.getBigUint64(48, true);
  try {
    checkPartitions(partitions, Number(lastUsableSector));
  } catch (error) {
    if (error instanceof RangeError) throw refuse(error.message);
    throw error;
  }
  return { diskGuid: decodeGuid(header.subarray(56, 72)), partitions };
}

function decodeEntries(entries: Uint8Array, refuse: (why: string) => ProtocolError): GptPartition[] {
  const view = new DataView(entries.buffer, entries.byteOffset, entries.length);
  const partitions: GptPartition[] = [];
  for (let number = 1; number <= entryCount; number++) {
    const offset = (number - 1) * entryBytes;
    if (view.getBigUint64(offset, true) === 0n && view.getBigUint64(offset + 8, true) === 0n) continue;
    const firstSector = view.getBigUint64(offset + 32, true);
    const lastSector = view.getBigUint64(offset + 40, true);
    if (firstSector > Number.MAX_SAFE_INTEGER || lastSector > Number.MAX_SAFE_INTEGER) {
      throw refuse(`partition ${number} lies beyond every disk`);
    }
    const units: number[] = [];
    for (let unit = 0; unit < maxNameUnits; unit++) {
      const value = view.getUint16(offset + 56 + 2 * unit, true);
      if (value === 0) break;
      units.push(value);
    }
    partitions.push({
      number,
      name: String.fromCharCode(...units),
      typeGuid: decodeGuid(entries.subarray(offset, offset + 16)),
      guid: decodeGuid(entries.subarray(offset + 16, offset + 32)),
      firstSector: Number(firstSector),
      lastSector: Number(lastSector),
      attributes: view.getBigUint64(offset + 48, true),
    });
  }
  return partitions;
}

/** UEFI 2.10 appendix A: the first three fields are little-endian on disk, the rest as in the text. */
const guidByteOrder = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] as const;

function encodeGuid(guid: string): Uint8Array {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(guid)) {
    throw new RangeError(`${JSON.stringify(guid)} is not a GUID`);
  }
  const text = Buffer.from(guid.replaceAll('-', ''), 'hex');
  return Uint8Array.from(guidByteOrder, (index) => text[index] ?? 0);
}

function decodeGuid(bytes: Uint8Array): string {
  const hex = Buffer.from(guidByteOrder.map((index) => bytes[index] ?? 0)).toString('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
