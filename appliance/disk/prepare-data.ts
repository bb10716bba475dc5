/**
 * Brings DATA up: grown to the end of the disk, formatted once in its life, checked at every boot, mounted.
 * Whatever is wrong becomes a sentence for the console; nothing is ever formatted that may hold mail.
 */
import { open } from 'node:fs/promises';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { CommandError, runCommand } from '../base/run-command.ts';
import { tools } from '../base/tools.ts';
import { dataFormattedAttribute, partitionNames } from '../contract/disk-layout.ts';
import { dataFormattingAttribute, decideData, emptyProofBytes } from './data-decision.ts';
import { ext4NeedsRecovery, ext4SizeBytes, superblockBytes, superblockOffsetBytes } from './ext4.ts';
import { planGrowth, readTable, writeTable } from './grow.ts';
import type { GptTable } from './gpt.ts';
import { isMounted, mount } from './mount.ts';
import { type BlockPartition, partitionSizeBytes } from './partitions.ts';

export type DataOutcome =
  | {
      readonly kind: 'ready';
      readonly notes: readonly string[];
      /** It was not unmounted the last time: the power was cut. */
      readonly wasCutOff: boolean;
    }
  | { readonly kind: 'unusable'; readonly problem: string; readonly fix: string }
  /** e2fsck asks for a reboot before the filesystem is used. */
  | { readonly kind: 'reboot' };

export interface DataOptions {
  readonly path: string;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** No access times and no more commits than needed spare SD cards; nothing on DATA is ever executed. */
export const dataMountOptions = ['noatime', 'nodev', 'nosuid', 'noexec', 'errors=remount-ro'] as const;
/** Minutes for large disks on slow cards. */
const toolTimeoutMs = 30 * 60_000;
/** Filesystem smaller than its partition by more than this: the disk has grown. */
const resizeSlackBytes = 16 * 1024 * 1024;

/** @param partition DATA as found, or undefined when there is none (or more than one) */
export async function prepareData(
  partition: BlockPartition | undefined,
  options: DataOptions,
): Promise<DataOutcome> {
  // A supervisor before us has done it.
  if (await isMounted(options.path)) return { kind: 'ready', notes: [], wasCutOff: false };
  if (partition === undefined) {
    return unusable(
      `There is no partition called ${partitionNames.data} on the disk this machine started from`,
      'Write the image again to a sound disk; mail on the old one can be read on another machine',
    );
  }
  try {
    return await prepare(partition, options);
  } catch (error) {
    options.log.error('DATA cannot be used', { error: messageOf(error) });
    return unusable(
      `The DATA partition ${partition.device} cannot be used: ${messageOf(error)}`,
      `Look at the disk on another machine (e2fsck -f on its fourth partition), or write the image to a new one`,
    );
  }
}

function unusable(problem: string, fix: string): DataOutcome {
  return { kind: 'unusable', problem, fix };
}

async function prepare(partition: BlockPartition, options: DataOptions): Promise<DataOutcome> {
  const { log, signal, path } = options;
  const table = await readTable(partition);
  const entry = table.partitions.find(({ number }) => number === partition.number);
  if (entry === undefined) throw new Error(`the partition table has no entry ${partition.number}`);
  const begin = await readBeginning(partition.device);
  const decision = decideData({ ...begin, attributes: entry.attributes });
  log.info('DATA', { device: partition.device, decision: decision.kind });
  if (decision.kind === 'refuse') return unusable(decision.problem, decision.fix);

  const notes: string[] = [];
  let { wasCutOff } = begin;
  let isWhole: boolean;
  if (decision.kind === 'format') {
    const begun = entry.attributes | dataFormattingAttribute;
    isWhole = await applyTable(partition, table, begun, signal);
    await format(partition.device, signal);
    const done = (entry.attributes & ~dataFormattingAttribute) | dataFormattedAttribute;
    await applyTable(partition, table, done, signal);
    notes.push('The disk has been set up');
  } else {
    isWhole = await applyTable(partition, table, entry.attributes | dataFormattedAttribute, signal);
    const check = await checkFilesystem(partition.device, log, signal);
    if (check === 'reboot') return { kind: 'reboot' };
    if (check === 'failed') {
      return unusable(
        `The filesystem on ${partition.device} is damaged beyond automatic repair`,
        'Take the disk to another machine and run e2fsck on its fourth partition, or write the image to a new disk',
      );
    }
    if (check === 'repaired') {
      notes.push('The disk had errors, which were repaired');
      wasCutOff = true;
    }
  }
  if (!isWhole) notes.push('The whole disk will be used from the next start on');
  await mount({ device: partition.device, path, type: 'ext4', options: dataMountOptions }, signal);
  await growFilesystem(partition, begin.filesystemBytes, log, signal);
  return { kind: 'ready', notes, wasCutOff };
}

interface Beginning {
  readonly startsWithZeros: boolean;
  readonly hasExt4: boolean;
  readonly filesystemBytes: number | undefined;
  readonly wasCutOff: boolean;
}

async function readBeginning(device: string): Promise<Beginning> {
  await using file = await open(device, 'r');
  const bytes = Buffer.alloc(emptyProofBytes);
  const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
  if (bytesRead < bytes.length) throw new Error(`only ${bytesRead} bytes of it can be read`);
  const superblock = bytes.subarray(superblockOffsetBytes, superblockOffsetBytes + superblockBytes);
  const filesystemBytes = ext4SizeBytes(superblock);
  return {
    startsWithZeros: bytes.every((byte) => byte === 0),
    hasExt4: filesystemBytes !== undefined,
    filesystemBytes,
    wasCutOff: ext4NeedsRecovery(superblock),
  };
}

/**
 * Grows the partition where there is room and sets its attributes; writes nothing when nothing changes.
 * @returns false when the kernel does not know the new size yet
 */
async function applyTable(
  partition: BlockPartition,
  table: GptTable,
  attributes: bigint,
  signal: AbortSignal,
): Promise<boolean> {
  const next = planGrowth(table, partition.diskSizeBytes, { number: partition.number, attributes });
  const now = await readTable(partition);
  const entry = ({ partitions }: GptTable) => partitions.find(({ number }) => number === partition.number);
  const isSame = entry(now)?.lastSector === entry(next)?.lastSector && entry(now)?.attributes === attributes;
  return isSame || writeTable(partition, next, signal);
}

/**
 * For mke2fs(8). -m 1: root needs little room of its own; -i 8192: a maildir is many small files. The inode
 * tables are zeroed lazily, or a first boot from a large card would take minutes. Without fast_commit, which
 * would write 40 % less for each message: after a power cut, mail would depend on a way to replay the journal
 * that mke2fs does not choose by itself, and that e2fsck and the kernel have one of each.
 */
export const dataFormatArguments = ['-t', 'ext4', '-q', '-F', '-L', 'DATA', '-m', '1', '-i', '8192'] as const;

async function format(device: string, signal: AbortSignal): Promise<void> {
  await runCommand([tools.mke2fs, ...dataFormatArguments, device], { signal, timeoutMs: toolTimeoutMs });
}

/**
 * e2fsck(8) exit codes: 0 clean, 1 corrected, 2 corrected and reboot, 4 left uncorrected, 8 and up: it could
 * not work. What -p leaves is repaired with -y: nobody can answer its questions here, mail lives for days
 * only, and a relay that stays down loses more.
 */
async function checkFilesystem(
  device: string,
  log: Log,
  signal: AbortSignal,
): Promise<'clean' | 'repaired' | 'reboot' | 'failed'> {
  for (const mode of ['-p', '-y']) {
    const { code, stdout, stderr } = await runCommand([tools.e2fsck, mode, device], {
      signal,
      timeoutMs: toolTimeoutMs,
      okCodes: Array.from({ length: 256 }, (_, index) => index),
    });
    log.info('e2fsck', { mode, code, said: `${stdout}${stderr}`.trim().slice(-1000) });
    const outcome = readFsckCode(code);
    if (outcome !== 'failed') return outcome;
  }
  return 'failed';
}

/** What an exit code of e2fsck means. Pure. */
export function readFsckCode(code: number): 'clean' | 'repaired' | 'reboot' | 'failed' {
  if (code >= 4) return 'failed';
  if ((code & 2) !== 0) return 'reboot';
  return code === 1 ? 'repaired' : 'clean';
}

/** Online, for offline resize2fs(8) wants a full check first. A failure costs room, not mail. */
async function growFilesystem(
  partition: BlockPartition,
  filesystemBytes: number | undefined,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  if (filesystemBytes === undefined) return;
  if (filesystemBytes + resizeSlackBytes > (await partitionSizeBytes(partition))) return;
  try {
    await runCommand([tools.resize2fs, partition.device], { signal, timeoutMs: toolTimeoutMs });
    log.info('DATA grown', { device: partition.device });
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    log.error('DATA cannot be grown', { error: error.message });
  }
}
