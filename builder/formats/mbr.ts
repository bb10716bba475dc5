/**
 * The master boot record in sector 0 of a GPT disk: boot code for BIOS machines and a table of four
 * 16-byte entries. Protective (one entry over the whole disk, UEFI 2.10 §5.2.3) or hybrid (one partition
 * shown as well, for firmware that knows no GPT, such as the boot ROM of a Raspberry Pi 3).
 *
 * | offset | bytes | field                                                                     |
 * |--------|-------|---------------------------------------------------------------------------|
 * | 0      | 440   | boot code                                                                 |
 * | 440    | 4     | disk signature                                                            |
 * | 446    | 4×16  | status 0, CHS of first 1, type 4, CHS of last 5, first sector 8, count 12 |
 * | 510    | 2     | 55 AA                                                                     |
 */

const sectorBytes = 512;
/** What boot code may fill: up to the disk signature. */
export const maxBootCodeBytes = 440;
const tableOffset = 446;
const entryBytes = 16;
const maxUint32 = 0xffffffff;
const active = 0x80;
/** Partition types: FAT32 addressed by LBA, and the one that keeps old tools off a GPT. */
const fat32Lba = 0x0c;
const gptProtective = 0xee;
/** Cylinder, head and sector of anything beyond what they can express: 1023/254/63. */
const chsBeyondRange = [0xfe, 0xff, 0xff] as const;
/** Of the protective entry, UEFI 2.10 table 5.4: sector 1, and all ones for an end beyond range. */
const protectiveChs = { chsFirst: [0x00, 0x02, 0x00], chsLast: [0xff, 0xff, 0xff] } as const;

interface BootCode {
  /** At most 440 bytes; none means a BIOS finds nothing to run. */
  readonly bootCode?: Uint8Array;
  /** Any 32-bit number; Linux derives PARTUUIDs of MBR partitions from it. */
  readonly diskSignature?: number;
}

/**
 * An MBR that says "GPT" over the whole disk.
 * @throws RangeError when the boot code is too long
 */
export function encodeProtectiveMbr(options: BootCode & { readonly diskSizeBytes: number }): Uint8Array {
  const sectors = Math.floor(options.diskSizeBytes / sectorBytes);
  const count = Math.min(sectors - 1, maxUint32);
  const entry = { status: 0, type: gptProtective, ...protectiveChs, firstSector: 1, count };
  return encodeMbr(options, [entry]);
}

/**
 * An MBR that shows one FAT32 partition, active, beside a protective entry over what lies before it.
 * @throws RangeError when the boot code is too long, or the partition is beyond 32-bit sector numbers
 */
export function encodeHybridMbr(
  options: BootCode & { readonly fat32: { readonly firstSector: number; readonly sectorCount: number } },
): Uint8Array {
  const { firstSector, sectorCount } = options.fat32;
  if (firstSector < 2 || sectorCount < 1 || firstSector + sectorCount - 1 > maxUint32) {
    throw new RangeError(`Sectors ${firstSector} + ${sectorCount} do not fit a hybrid MBR`);
  }
  return encodeMbr(options, [
    {
      status: active,
      type: fat32Lba,
      chsFirst: chsBeyondRange,
      chsLast: chsBeyondRange,
      firstSector,
      count: sectorCount,
    },
    { status: 0, type: gptProtective, ...protectiveChs, firstSector: 1, count: firstSector - 1 },
  ]);
}

interface MbrEntry {
  readonly status: number;
  readonly type: number;
  readonly chsFirst: readonly [number, number, number];
  readonly chsLast: readonly [number, number, number];
  readonly firstSector: number;
  readonly count: number;
}

function encodeMbr(options: BootCode, entries: readonly MbrEntry[]): Uint8Array {
  const { bootCode = new Uint8Array(0), diskSignature = 0 } = options;
  if (bootCode.length > maxBootCodeBytes) {
    throw new RangeError(`MBR boot code has ${bootCode.length} bytes, more than ${maxBootCodeBytes}`);
  }
  const bytes = new Uint8Array(sectorBytes);
  const view = new DataView(bytes.buffer);
  bytes.set(bootCode);
  view.setUint32(440, diskSignature, true);
  for (const [index, entry] of entries.entries()) {
    const offset = tableOffset + index * entryBytes;
    view.setUint8(offset, entry.status);
    bytes.set(entry.chsFirst, offset + 1);
    view.setUint8(offset + 4, entry.type);
    bytes.set(entry.chsLast, offset + 5);
    view.setUint32(offset + 8, entry.firstSector, true);
    view.setUint32(offset + 12, entry.count, true);
  }
  view.setUint16(510, 0xaa55, true);
  return bytes;
}
