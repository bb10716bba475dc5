/**
 * SYSLINUX's auxiliary data vector: two equal sectors at the end of ldlinux.sys that the boot loader reads
 * before anything else, and rewrites. Of its tags only "boot once" is known here: the label to boot this
 * time, cleared by SYSLINUX before it loads that kernel. Source: syslinux 6.04 libinstaller/setadv.c, adv.inc.
 *
 * | offset | bytes | field                                                          |
 * |--------|-------|----------------------------------------------------------------|
 * | 0      | 4     | magic 0x5A2D2FA5                                               |
 * | 4      | 4     | checksum: 0xA3041767 less the sum of the 125 words that follow |
 * | 8      | 500   | tags: number, length, bytes; 0 ends                            |
 * | 508    | 4     | magic 0xDD28BF64                                               |
 */
import { ProtocolError } from '../base/errors.ts';

const sectorBytes = 512;
const headMagic = 0x5a2d2fa5;
const tailMagic = 0xdd28bf64;
const checksumBase = 0xa3041767;
const tagsOffset = 8;
const tagsBytes = 500;
const bootOnceTag = 1;
/** The tag's length is one byte. */
const maxLabelBytes = 255;

/** How many equal sectors hold the vector. */
export const advSectors = 2;

/**
 * Encodes both sectors. Without `bootOnce` SYSLINUX boots its default.
 * @throws RangeError for a label SYSLINUX could not read back
 */
export function encodeSyslinuxAdv({ bootOnce }: { readonly bootOnce?: string | undefined }): Uint8Array {
  const sector = new Uint8Array(sectorBytes);
  const view = new DataView(sector.buffer);
  view.setUint32(0, headMagic, true);
  view.setUint32(sectorBytes - 4, tailMagic, true);
  if (bootOnce !== undefined) {
    const label = new TextEncoder().encode(bootOnce);
    if (label.length < 1 || label.length > maxLabelBytes) {
      throw new RangeError(`A SYSLINUX label has 1–${maxLabelBytes} bytes, not ${label.length}`);
    }
    sector.set([bootOnceTag, label.length], tagsOffset);
    sector.set(label, tagsOffset + 2);
  }
  view.setUint32(4, tagsChecksum(sector), true);
  return Buffer.concat([sector, sector]);
}

/**
 * Decodes the two sectors. As in SYSLINUX, the first good copy counts, and two bad ones are as good as empty.
 * @throws ProtocolError when it is not two sectors
 */
export function decodeSyslinuxAdv(bytes: Uint8Array): { readonly bootOnce: string | undefined } {
  if (bytes.length !== advSectors * sectorBytes) {
    throw new ProtocolError(
      `SYSLINUX's data vector has ${bytes.length} bytes, not ${advSectors * sectorBytes}`,
    );
  }
  for (let copy = 0; copy < advSectors; copy++) {
    const sector = bytes.subarray(copy * sectorBytes, (copy + 1) * sectorBytes);
    const view = new DataView(sector.buffer, sector.byteOffset);
    const isGood =
      view.getUint32(0, true) === headMagic &&
      view.getUint32(sectorBytes - 4, true) === tailMagic &&
      view.getUint32(4, true) === tagsChecksum(sector);
    if (isGood) return { bootOnce: findBootOnce(sector.subarray(tagsOffset, tagsOffset + tagsBytes)) };
  }
  return { bootOnce: undefined };
}

function findBootOnce(tags: Uint8Array): string | undefined {
  let offset = 0;
  while (offset + 2 <= tags.length) {
    const [tag = 0, length = 0] = tags.subarray(offset, offset + 2);
    const end = offset + 2 + length;
    if (tag === 0 || end > tags.length) return undefined;
    if (tag === bootOnceTag) return new TextDecoder().decode(tags.subarray(offset + 2, end));
    offset = end;
  }
  return undefined;
}

function tagsChecksum(sector: Uint8Array): number {
  const view = new DataView(sector.buffer, sector.byteOffset);
  let sum = checksumBase;
  for (let offset = tagsOffset; offset < tagsOffset + tagsBytes; offset += 4) {
    sum = (sum - view.getUint32(offset, true)) >>> 0;
  }
  return sum;
}
