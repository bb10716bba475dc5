/**
 * Where everything lies on the disk: pure. Sizes come from the contract, identifiers from a text, so that
 * the same configuration gives the same bytes.
 */
import { createHash } from 'node:crypto';
import { diskLayout, partitionNames, sectorBytes } from '../../appliance/contract/disk-layout.ts';
import { type GptPartition, legacyBiosBootable, partitionTypes } from '../../appliance/disk/gpt.ts';

const mebibyte = 1024 * 1024;
/** Behind the last partition: the backup GPT takes 33 sectors, and image files end at whole MiB. */
const tailBytes = mebibyte;

/** A partition's place, in bytes and sectors of the disk. */
export interface PlannedPartition extends GptPartition {
  readonly startBytes: number;
  readonly sizeBytes: number;
}

export interface DiskPlan {
  readonly sizeBytes: number;
  readonly diskGuid: string;
  /** Of the MBR. */
  readonly diskSignature: number;
  /** Serial number of the FAT volume on BOOT. */
  readonly volumeId: number;
  readonly boot: PlannedPartition;
  readonly rootA: PlannedPartition;
  readonly rootB: PlannedPartition;
  readonly data: PlannedPartition;
}

/** @param identity a text that tells this appliance from others, such as its domain: every identifier comes from it */
export function planDisk(identity: string): DiskPlan {
  let nextBytes = diskLayout.firstSector * sectorBytes;
  const place = (
    number: number,
    name: string,
    sizeBytes: number,
    kind: Pick<GptPartition, 'typeGuid' | 'attributes'>,
  ): PlannedPartition => {
    const startBytes = nextBytes;
    nextBytes += sizeBytes;
    return {
      ...kind,
      number,
      name,
      guid: derivedGuid(identity, name),
      startBytes,
      sizeBytes,
      firstSector: startBytes / sectorBytes,
      lastSector: nextBytes / sectorBytes - 1,
    };
  };
  const linux = { typeGuid: partitionTypes.linuxFilesystem, attributes: 0n };
  const boot = { typeGuid: partitionTypes.efiSystem, attributes: legacyBiosBootable };
  const partitions = {
    boot: place(1, partitionNames.boot, diskLayout.bootBytes, boot),
    rootA: place(2, partitionNames.rootA, diskLayout.rootBytes, linux),
    rootB: place(3, partitionNames.rootB, diskLayout.rootBytes, linux),
    data: place(4, partitionNames.data, diskLayout.dataBytes, linux),
  };
  return {
    ...partitions,
    sizeBytes: nextBytes + tailBytes,
    diskGuid: derivedGuid(identity, 'disk'),
    diskSignature: digest(identity, 'MBR signature').readUInt32LE(),
    volumeId: digest(identity, 'FAT volume').readUInt32LE(),
  };
}

function digest(identity: string, purpose: string): Buffer {
  return createHash('sha256').update(`chatmail-build\0${purpose}\0${identity}`).digest();
}

/** In the shape of a random UUID (RFC 9562 §5.4), since no tool expects another. */
function derivedGuid(identity: string, purpose: string): string {
  const bytes = digest(identity, purpose).subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x40, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
