/** A disk as the operating system describes it, and whether an image may be written to it. Pure. */

import { sectorBytes } from '../../appliance/contract/disk-layout.ts';

export interface Disk {
  /** Short name, as people and tools say it: sdb, disk4, PhysicalDrive2. */
  readonly name: string;
  /** What is opened: /dev/sdb, /dev/rdisk4, \\.\PhysicalDrive2. */
  readonly path: string;
  readonly model: string;
  /** '' when the tool tells none. */
  readonly serial: string;
  readonly sizeBytes: number;
  /** What it calls a sector. */
  readonly sectorBytes: number;
  /** Made to be plugged in and out: USB, SD and MMC cards. */
  readonly isRemovable: boolean;
  /** The running system lives on it. */
  readonly isSystem: boolean;
  readonly isReadOnly: boolean;
  /** Where its volumes are mounted, and what else holds it (`crypt`, `lvm`, `raid1` …). */
  readonly uses: readonly string[];
  /** Its volumes, for people: `FAT32 "CAMERA" 31.9 GB`. */
  readonly contents: readonly string[];
  /** Names of its partitions and volumes, to tell who names one of them what to name instead. */
  readonly partNames: readonly string[];
}

export type FlashErrorCode =
  | 'no-disk'
  | 'not-a-disk'
  | 'partition'
  | 'not-removable'
  | 'system-disk'
  | 'mounted'
  | 'write-protected'
  | 'too-small'
  | 'sector-size'
  | 'no-permission'
  | 'image'
  | 'disk-failed'
  | 'disk-vanished'
  | 'disk-differs';

/** Why nothing was flashed, or why what was flashed must not be used; `fix` says what to do. */
export class FlashError extends Error {
  override name = 'FlashError';
  readonly code: FlashErrorCode;
  readonly fix: string;
  constructor(code: FlashErrorCode, message: string, fix: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.fix = fix;
  }
}

export const writeProtectionAdvice =
  'Slide the switch on the side of the card or its adapter, or use another one';

/** `sdb (SanDisk Ultra, 31.9 GB)` */
export function describeDisk({ name, model, sizeBytes }: Disk): string {
  return `${name} (${model === '' ? 'unknown model' : model}, ${formatSize(sizeBytes)})`;
}

/** Decimal, as disks are sold. */
export function formatSize(bytes: number): string {
  if (bytes < 1e6) return `${bytes} bytes`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/**
 * Why an image of `imageBytes` must not be written to `disk`, the gravest reason first; undefined when it
 * may be.
 */
export function refusal(disk: Disk, imageBytes: number, platform: NodeJS.Platform): FlashError | undefined {
  const what = describeDisk(disk);
  if (disk.isSystem) {
    return new FlashError(
      'system-disk',
      `${what} holds the system that is running here`,
      'Name the card or stick that the relay shall start from: chatmail-build flash lists them',
    );
  }
  if (!disk.isRemovable) {
    return new FlashError(
      'not-removable',
      `${what} is built into this machine`,
      'Only USB disks and memory cards are written to. Put the disk into a USB adapter, or use a stick or card',
    );
  }
  if (disk.uses.length > 0) {
    return new FlashError(
      'mounted',
      `${what} is in use: ${disk.uses.join(', ')}`,
      releaseAdvice(disk, platform),
    );
  }
  if (disk.isReadOnly) {
    return new FlashError('write-protected', `${what} is write-protected`, writeProtectionAdvice);
  }
  if (disk.sectorBytes !== sectorBytes) {
    return new FlashError(
      'sector-size',
      `${what} has sectors of ${disk.sectorBytes} bytes; the image is made for ${sectorBytes}`,
      'Use another disk: sticks and cards have sectors of 512 bytes',
    );
  }
  if (disk.sizeBytes < imageBytes) {
    return new FlashError(
      'too-small',
      `${what} has ${disk.sizeBytes} bytes, and the image needs ${imageBytes}`,
      `Use a disk of ${formatSize(imageBytes)} or more; mail needs room too, so 8 GB or more is sensible`,
    );
  }
  return undefined;
}

function releaseAdvice({ name, uses }: Disk, platform: NodeJS.Platform): string {
  const start = 'If nothing on it is needed any more';
  if (platform === 'darwin') return `${start}: diskutil unmountDisk ${name}`;
  if (platform === 'win32') {
    return `${start}, in PowerShell as administrator: Clear-Disk -Number ${name.replace(/\D/g, '')} -RemoveData`;
  }
  const mounts = uses.filter((use) => use.startsWith('/'));
  if (mounts.length === uses.length) {
    return `${start}: umount ${mounts.map((mount) => `'${mount.replaceAll("'", "'\\''")}'`).join(' ')}`;
  }
  return `${start}, let go of it: umount, swapoff, cryptsetup close, vgchange --activate n or mdadm --stop, as it is used`;
}

/** Same disk as before? Names are given out again when disks come and go. */
export function isSameDisk(one: Disk, other: Disk): boolean {
  return (
    one.path === other.path &&
    one.sizeBytes === other.sizeBytes &&
    one.model === other.model &&
    one.serial === other.serial
  );
}
