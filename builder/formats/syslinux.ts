/**
 * Installs SYSLINUX 6 on a FAT volume without running its installer. Two pieces out of the installer's
 * binary, the boot sector and ldlinux.sys, are told where on the volume the latter lies.
 * Source: syslinux 6.04 libinstaller/syslxmod.c and syslxint.h.
 *
 * ldlinux.sys begins with a banner; a patch area follows it at a multiple of four:
 *
 * | offset | bytes | field                                            |
 * |--------|-------|--------------------------------------------------|
 * | 0      | 4     | magic 0x3EB202FE                                 |
 * | 4      | 4     | instance                                         |
 * | 8      | 2     | data sectors                                     |
 * | 10     | 2     | sectors of the auxiliary data vector             |
 * | 12     | 4     | words the checksum covers                        |
 * | 16     | 4     | checksum: magic less the sum of all these words  |
 * | 20     | 2     | most sectors one BIOS call may read              |
 * | 22     | 2     | offset of the extended patch area (`epa` below)  |
 */
import { ProtocolError } from '../../appliance/base/errors.ts';

const sectorBytes = 512;
/** The auxiliary data vector at the end of ldlinux.sys: two equal sectors. */
const advSectors = 2;
const patchMagic = 0x3eb202fe;
const banner = Buffer.from('\r\nSYSLINUX 6');
/** The 32-bit ELF of ldlinux.c32, which the installer carries right behind ldlinux.sys. */
const elfMagic = Buffer.from([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
/** Of real-mode memory from 0x8000 there are some 600 KiB; the file has 58 KiB. */
const maxLdlinuxBytes = 256 * 1024;
/** Where ldlinux.sys is loaded, sector after sector. */
const loadAddress = 0x8000;
/** A BIOS read takes at most 127 sectors, and must not cross 64 KiB of memory. */
const maxExtentSectors = 127;
const extentBytes = 10;
/** What of the boot sector is FAT's: the parameter block between the OEM name and the code. */
const bpbStart = 11;
const bpbEnd = 90;

/** The two pieces, as they come out of the installer. */
export interface SyslinuxPieces {
  readonly bootSector: Uint8Array;
  /** Whole sectors, without the auxiliary data vector. */
  readonly ldlinux: Uint8Array;
}

/**
 * Takes the pieces out of the `syslinux` program (not extlinux: its ldlinux.sys is another).
 * @throws ProtocolError when they are not where SYSLINUX 6 has them
 */
export function extractSyslinux(installer: Uint8Array): SyslinuxPieces {
  const program = Buffer.from(installer.buffer, installer.byteOffset, installer.length);
  for (let start = program.indexOf(banner); start >= 0; start = program.indexOf(banner, start + 1)) {
    if (start < sectorBytes) continue;
    const bootSector = program.subarray(start - sectorBytes, start);
    const end = program.indexOf(elfMagic, start);
    const ldlinux = program.subarray(start, end < 0 ? start : end);
    const isBootSector =
      bootSector.readUInt16LE(510) === 0xaa55 && bootSector.toString('latin1', 3, 11) === 'SYSLINUX';
    const isWhole =
      ldlinux.length > 0 && ldlinux.length % sectorBytes === 0 && ldlinux.length <= maxLdlinuxBytes;
    if (isBootSector && isWhole && patchAreaOffset(ldlinux) !== undefined) return { bootSector, ldlinux };
  }
  throw new ProtocolError('The installer holds no boot sector and ldlinux.sys of SYSLINUX 6');
}

/** The size of the file ldlinux.sys on the volume: the loader and its auxiliary data vector. */
export function ldlinuxSysBytes({ ldlinux }: SyslinuxPieces): number {
  return ldlinux.length + advSectors * sectorBytes;
}

/**
 * What to write, once it is known where ldlinux.sys lies.
 * @param place.sectors the sectors of ldlinux.sys in order, counted from the start of the volume
 * @param place.directory where ldlinux.c32 and syslinux.cfg are, such as `/syslinux`
 * @param place.adv the auxiliary data vector, two sectors
 * @param place.fatBootSector the boot sector the volume has; its hidden sectors must be right
 * @throws RangeError when there are too few sectors, they are too scattered, or the directory is too long;
 *   ProtocolError when the pieces are damaged
 */
export function installSyslinux(
  pieces: SyslinuxPieces,
  place: {
    readonly sectors: readonly number[];
    readonly directory: string;
    readonly adv: Uint8Array;
    readonly fatBootSector: Uint8Array;
  },
): { readonly bootSector: Uint8Array; readonly ldlinuxSys: Uint8Array } {
  const dataSectors = pieces.ldlinux.length / sectorBytes;
  if (place.sectors.length !== dataSectors + advSectors) {
    throw new RangeError(
      `ldlinux.sys has ${dataSectors + advSectors} sectors, and ${place.sectors.length} were given`,
    );
  }
  if (place.adv.length !== advSectors * sectorBytes) {
    throw new RangeError(`The data vector has ${place.adv.length} bytes, not ${advSectors * sectorBytes}`);
  }
  // Not .slice(): that of a Buffer is no copy.
  const ldlinux = new Uint8Array(pieces.ldlinux);
  const view = new DataView(ldlinux.buffer);
  const patch = patchAreaOffset(ldlinux);
  if (patch === undefined) throw new ProtocolError('ldlinux.sys has no patch area');
  const epa = readExtendedPatchArea(ldlinux, patch);

  view.setUint16(patch + 8, dataSectors, true);
  view.setUint16(patch + 10, advSectors, true);
  view.setUint32(patch + 12, ldlinux.length / 4, true);
  for (const [index, sector] of place.sectors.slice(dataSectors).entries()) {
    view.setBigUint64(epa.advPointers + 8 * index, BigInt(sector), true);
  }
  const directory = Buffer.from(`${place.directory}\0`);
  if (directory.length > epa.directoryBytes) throw new RangeError(`${place.directory} is too long a path`);
  ldlinux.set(directory, epa.directory);
  // The boot sector loads sector 0 itself.
  const extents = planExtents(place.sectors.slice(1, dataSectors));
  if (extents.length > epa.extentCount) {
    throw new RangeError(`ldlinux.sys lies in more than ${epa.extentCount} pieces`);
  }
  for (const [index, extent] of extents.entries()) {
    view.setBigUint64(epa.extents + index * extentBytes, BigInt(extent.firstSector), true);
    view.setUint16(epa.extents + index * extentBytes + 8, extent.sectorCount, true);
  }
  view.setUint32(patch + 16, 0, true);
  view.setUint32(patch + 16, (patchMagic - sumWords(view)) >>> 0, true);

  const bootSector = new Uint8Array(pieces.bootSector);
  bootSector.set(place.fatBootSector.subarray(bpbStart, bpbEnd), bpbStart);
  const bootView = new DataView(bootSector.buffer);
  const firstSector = BigInt(place.sectors[0] ?? 0);
  bootView.setUint32(epa.firstSectorLow, Number(firstSector & 0xffff_ffffn), true);
  bootView.setUint32(epa.firstSectorHigh, Number(firstSector >> 32n), true);
  return { bootSector, ldlinuxSys: Buffer.concat([ldlinux, place.adv]) };
}

/** The magic stands at a multiple of four in the first sector, and the extended area where it says. */
function patchAreaOffset(ldlinux: Uint8Array): number | undefined {
  const view = new DataView(ldlinux.buffer, ldlinux.byteOffset, ldlinux.length);
  for (let offset = 0; offset + 24 <= Math.min(sectorBytes, ldlinux.length); offset += 4) {
    if (view.getUint32(offset, true) === patchMagic) return offset;
  }
  return undefined;
}

/** Ten offsets and lengths of 16 bits (syslxint.h, `struct ext_patch_area`). */
function readExtendedPatchArea(ldlinux: Uint8Array, patch: number) {
  const view = new DataView(ldlinux.buffer, ldlinux.byteOffset, ldlinux.length);
  const start = view.getUint16(patch + 22, true);
  if (start + 20 > ldlinux.length) throw new ProtocolError('ldlinux.sys points outside itself');
  const field = (index: number): number => view.getUint16(start + 2 * index, true);
  const epa = {
    advPointers: field(0),
    directory: field(1),
    directoryBytes: field(2),
    extents: field(5),
    extentCount: field(6),
    firstSectorLow: field(7),
    firstSectorHigh: field(8),
  };
  const isInside =
    epa.advPointers + 8 * advSectors <= ldlinux.length &&
    epa.directory + epa.directoryBytes <= ldlinux.length &&
    epa.extents + epa.extentCount * extentBytes <= ldlinux.length &&
    Math.max(epa.firstSectorLow, epa.firstSectorHigh) + 4 <= sectorBytes - 2;
  if (!isInside) throw new ProtocolError('ldlinux.sys points outside itself');
  return epa;
}

/** Joins neighbouring sectors as far as one BIOS read may go. */
function planExtents(sectors: readonly number[]): { firstSector: number; sectorCount: number }[] {
  const extents: { firstSector: number; sectorCount: number }[] = [];
  let address = loadAddress + sectorBytes;
  for (const sector of sectors) {
    const last = extents.at(-1);
    const mayJoin =
      last !== undefined &&
      sector === last.firstSector + last.sectorCount &&
      last.sectorCount < maxExtentSectors &&
      address % 0x10000 !== 0;
    if (mayJoin) last.sectorCount++;
    else extents.push({ firstSector: sector, sectorCount: 1 });
    address += sectorBytes;
  }
  return extents;
}

function sumWords(view: DataView): number {
  let sum = 0;
  for (let offset = 0; offset < view.byteLength; offset += 4)
    sum = (sum + view.getUint32(offset, true)) >>> 0;
  return sum;
}
