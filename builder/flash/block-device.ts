/**
 * A disk opened for writing and for reading back what it really holds, past the system's cache: O_DIRECT on
 * Linux, the raw device on macOS; Windows does not cache physical drives.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { messageOf, systemCode } from '../../appliance/base/errors.ts';
import { describeDisk, type Disk, FlashError, writeProtectionAdvice } from './disk.ts';

/** Offsets and lengths are whole sectors. Failures are the system's errors. */
export interface BlockDevice extends AsyncDisposable {
  readonly sizeBytes: number;
  writeAt(offsetBytes: number, bytes: Uint8Array): Promise<void>;
  /** What was written is on the medium when this resolves. */
  flush(): Promise<void>;
  /** The bytes belong to the device, and are overwritten by the next read. */
  readAt(offsetBytes: number, length: number): Promise<Uint8Array>;
}

/** The longest read. */
const maxReadBytes = 1024 * 1024;

/**
 * Opens a disk, and on Linux claims it: neither can we have it while something of it is mounted, nor can
 * anybody mount it while we have it.
 * @throws FlashError when it is in use, gone, write-protected, or not ours to write
 */
export async function openBlockDevice(disk: Disk, platform: NodeJS.Platform): Promise<BlockDevice> {
  let writer: FileHandle;
  try {
    // Without O_CREAT, O_EXCL on a block device means: fail with EBUSY if it is in use (open(2)).
    writer = await open(disk.path, platform === 'linux' ? constants.O_RDWR | constants.O_EXCL : 'r+');
  } catch (error) {
    throw openingError(error, disk, platform);
  }
  let reader: FileHandle | null = null;
  if (platform === 'linux') {
    reader = await open(disk.path, constants.O_RDONLY | constants.O_DIRECT).catch(() => null);
  }
  // O_DIRECT wants aligned memory. V8 gives buffers that can be resized pages of their own; others start anywhere.
  const pages = Buffer.from(new ArrayBuffer(maxReadBytes, { maxByteLength: maxReadBytes }));
  if (reader !== null && !(await canRead(reader, pages))) {
    await reader.close();
    reader = null;
  }
  return {
    sizeBytes: disk.sizeBytes,
    async writeAt(offsetBytes, bytes) {
      for (let done = 0; done < bytes.length;) {
        const { bytesWritten } = await writer.write(bytes, done, bytes.length - done, offsetBytes + done);
        if (bytesWritten === 0) throw new Error('It takes no more bytes');
        done += bytesWritten;
      }
    },
    flush: () => writer.sync(),
    async readAt(offsetBytes, length) {
      if (length > maxReadBytes) throw new RangeError(`${length} bytes are more than ${maxReadBytes}`);
      for (let done = 0; done < length;) {
        const { bytesRead } = await (reader ?? writer).read(pages, done, length - done, offsetBytes + done);
        if (bytesRead === 0) throw new Error('It ends too early');
        done += bytesRead;
      }
      return pages.subarray(0, length);
    },
    async [Symbol.asyncDispose]() {
      await reader?.close();
      await writer.close();
    },
  };
}

/** Not every driver and container takes O_DIRECT; the ordinary way then has to do. */
async function canRead(reader: FileHandle, pages: Buffer): Promise<boolean> {
  return reader.read(pages, 0, 4096, 0).then(
    () => true,
    () => false,
  );
}

function openingError(error: unknown, disk: Disk, platform: NodeJS.Platform): Error {
  const what = describeDisk(disk);
  switch (systemCode(error)) {
    case 'EACCES':
    case 'EPERM':
      return new FlashError(
        'no-permission',
        `You may not write to ${what}`,
        platform === 'win32'
          ? 'Run the same command in a terminal that was started as administrator'
          : `Let your user write to this disk until it is unplugged, then run the same command: sudo chown "$USER" ${disk.path}`,
        { cause: error },
      );
    case 'EBUSY':
      return new FlashError(
        'mounted',
        `${what} is in use by another program, or something on it is mounted`,
        'Close what uses it, unmount it, and run the same command',
        { cause: error },
      );
    case 'EROFS':
      return new FlashError('write-protected', `${what} is write-protected`, writeProtectionAdvice, {
        cause: error,
      });
    default:
      return new FlashError(
        'disk-failed',
        `${what} cannot be opened: ${messageOf(error)}`,
        'Unplug it, plug it in again, and run the same command',
        { cause: error },
      );
  }
}
