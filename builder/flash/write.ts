/**
 * Writes a planned image to a disk, and compares the disk with it afterwards. The first block, which holds
 * the partition table, is wiped first and written last: a disk whose writing was interrupted, or failed, is
 * an empty one, never one that starts half a system. (It also keeps desktops from mounting what is not
 * there yet.)
 */
import { createHash } from 'node:crypto';
import { access } from 'node:fs/promises';
import { messageOf, systemCode } from '../../appliance/base/errors.ts';
import type { BlockDevice } from './block-device.ts';
import { describeDisk, type Disk, FlashError, writeProtectionAdvice } from './disk.ts';
import { type FlashImage, imageBlockBytes } from './image.ts';
import type { FlashPlan, PlannedBlock } from './plan.ts';

export interface FlashSession {
  readonly disk: Disk;
  readonly device: BlockDevice;
  readonly signal: AbortSignal;
  /** Called after every block. */
  onProgress(doneBytes: number, totalBytes: number): void;
}

/** So often what was written is forced out: progress shall be that of the disk, not of the cache. */
const flushEveryBytes = 16 * 1024 * 1024;

/**
 * Where a disk that is larger than the image may keep the backup table of an earlier life; undefined when
 * there is no such place.
 */
function oldBackupTable(device: BlockDevice, imageBytes: number): Omit<PlannedBlock, 'digest'> | undefined {
  const start = Math.max(imageBytes, device.sizeBytes - imageBlockBytes);
  const offsetBytes = start - (start % 4096);
  const sizeBytes = device.sizeBytes - Math.max(offsetBytes, imageBytes);
  return sizeBytes <= 0 ? undefined : { offsetBytes: Math.max(offsetBytes, imageBytes), sizeBytes };
}

/**
 * @throws FlashError when the disk fails or goes away, or the image changed since it was planned; what the
 *   signal was aborted with
 */
export async function writeFlash(image: FlashImage, plan: FlashPlan, session: FlashSession): Promise<void> {
  const { device, signal } = session;
  const [first, ...rest] = plan.blocks;
  if (first === undefined || first.offsetBytes !== 0) throw new RangeError('The plan has no first block');
  const put = (offsetBytes: number, bytes: Uint8Array) =>
    attempt(session, 'write', offsetBytes, () => device.writeAt(offsetBytes, bytes));
  const flush = (offsetBytes: number) => attempt(session, 'write', offsetBytes, () => device.flush());

  signal.throwIfAborted();
  await put(0, Buffer.alloc(first.sizeBytes));
  const tail = oldBackupTable(device, plan.imageBytes);
  if (tail !== undefined) await put(tail.offsetBytes, Buffer.alloc(tail.sizeBytes));
  await flush(0);

  const wanted = new Map(rest.map((block) => [block.offsetBytes, block]));
  let firstBytes: Buffer | undefined;
  let doneBytes = 0;
  let unflushedBytes = 0;
  let offsetBytes = 0;
  for await (const bytes of image.blocks(signal)) {
    signal.throwIfAborted();
    const block = wanted.get(offsetBytes);
    if (offsetBytes === 0) firstBytes = Buffer.from(bytes);
    if (block !== undefined) {
      checkUnchanged(image, block, bytes);
      await put(offsetBytes, bytes);
      doneBytes += bytes.length;
      unflushedBytes += bytes.length;
      if (unflushedBytes >= flushEveryBytes) {
        await flush(offsetBytes);
        unflushedBytes = 0;
      }
      session.onProgress(doneBytes, plan.writtenBytes);
    }
    offsetBytes += bytes.length;
  }
  await flush(offsetBytes);
  if (firstBytes === undefined) throw new RangeError('The image is empty');
  signal.throwIfAborted();
  checkUnchanged(image, first, firstBytes);
  await put(0, firstBytes);
  await flush(0);
  session.onProgress(plan.writtenBytes, plan.writtenBytes);
}

function checkUnchanged(image: FlashImage, { digest, offsetBytes }: PlannedBlock, bytes: Uint8Array): void {
  if (sha256(bytes) === digest) return;
  throw new FlashError(
    'image',
    `${image.path} was changed at byte ${offsetBytes} while it was being written`,
    'Wait until nothing writes to the image any more, and run the same command: the disk holds nothing usable yet',
  );
}

/**
 * Reads back all that was written.
 * @throws FlashError 'disk-differs' at the first difference; others as `writeFlash`
 */
export async function verifyFlash(plan: FlashPlan, session: FlashSession): Promise<void> {
  const { device, disk, signal } = session;
  const tail = oldBackupTable(device, plan.imageBytes);
  const cleared = tail && { ...tail, digest: sha256(Buffer.alloc(tail.sizeBytes)) };
  let doneBytes = 0;
  for (const { offsetBytes, sizeBytes, digest } of [...plan.blocks, ...(cleared ? [cleared] : [])]) {
    signal.throwIfAborted();
    const bytes = await attempt(session, 'read', offsetBytes, () => device.readAt(offsetBytes, sizeBytes));
    if (sha256(bytes) !== digest) {
      throw new FlashError(
        'disk-differs',
        `${describeDisk(disk)} does not hold what was written to it, at byte ${offsetBytes} and after`,
        'Use another card or stick: this one loses data, or has less room than it claims. If that fails too, try another reader or port',
      );
    }
    doneBytes += sizeBytes;
    session.onProgress(Math.min(doneBytes, plan.writtenBytes), plan.writtenBytes);
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** What systems say when a disk is gone: unplugged, or its reader. */
const goneCodes: ReadonlySet<string> = new Set(['ENODEV', 'ENXIO', 'ENOENT', 'ENOMEDIUM']);

/** Many systems open a write-protected disk for writing, and tell at the first write. */
const protectedCodes: ReadonlySet<string> = new Set(['EPERM', 'EACCES', 'EROFS']);

async function attempt<T>(
  { disk }: FlashSession,
  action: 'read' | 'write',
  offsetBytes: number,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined && error instanceof RangeError) throw error;
    const isGone = goneCodes.has(code ?? '') || !(await stillExists(disk));
    const what = describeDisk(disk);
    if (isGone) {
      throw new FlashError(
        'disk-vanished',
        `${what} went away at byte ${offsetBytes}: unplugged, or a loose contact`,
        'Plug it in again, if need be into another port, and run the same command: it holds nothing usable yet',
        { cause: error },
      );
    }
    if (action === 'write' && protectedCodes.has(code ?? '')) {
      throw new FlashError('write-protected', `${what} lets nobody write to it`, writeProtectionAdvice, {
        cause: error,
      });
    }
    throw new FlashError(
      'disk-failed',
      `${what} failed to ${action} at byte ${offsetBytes}: ${messageOf(error)}`,
      'Use another card or stick: this one is worn out, or smaller than it claims. It holds nothing usable now',
      { cause: error },
    );
  }
}

async function stillExists({ path }: Disk): Promise<boolean> {
  // \\.\ names are no files to Windows' idea of existence.
  if (path.startsWith('\\\\')) return true;
  return access(path).then(
    () => true,
    () => false,
  );
}
