/**
 * Image files: a fixed size, written in any order, with holes where nothing but zeros was written. A
 * partition of 512 MiB that holds nothing takes no room and no time.
 */
import { type FileHandle, open } from 'node:fs/promises';

/** Where an image writer puts its bytes. Offsets count from the sink's own start. */
export interface ImageSink {
  readonly sizeBytes: number;
  /**
   * Writes `bytes` at `offsetBytes`. Everything is zero from the start, and every byte is written at most
   * once: zeros may be left out, so they do not undo what was written before.
   * @throws RangeError if that is not inside the sink; the system's error (ENOSPC …)
   */
  writeAt(offsetBytes: number, bytes: Uint8Array): Promise<void>;
}

export interface SparseFile extends ImageSink, AsyncDisposable {
  /** Makes what was written survive a power cut. */
  sync(): Promise<void>;
}

/** The block of common filesystems: a smaller hole would not save anything. */
const blockBytes = 4096;
const zeroBlock = Buffer.alloc(blockBytes);

/**
 * Creates `path` (an existing file is emptied) as one large hole of `sizeBytes`. Dispose of it to close it.
 * @param mode of the file when it is new, before the umask
 * @throws the system's error
 */
export async function createSparseFile(
  path: string,
  sizeBytes: number,
  mode: number = 0o666,
): Promise<SparseFile> {
  const handle = await open(path, 'w', mode);
  try {
    await handle.truncate(sizeBytes);
  } catch (error) {
    await handle.close();
    throw error;
  }
  return {
    sizeBytes,
    async writeAt(offsetBytes, bytes) {
      assertInside(sizeBytes, offsetBytes, bytes.length);
      for (const { start, end } of nonZeroRuns(offsetBytes, bytes)) {
        await writeFully(handle, bytes.subarray(start, end), offsetBytes + start);
      }
    },
    sync: () => handle.sync(),
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

/** Part of a sink, as a sink: a partition of a disk. */
export function sinkWindow(sink: ImageSink, startBytes: number, sizeBytes: number): ImageSink {
  assertInside(sink.sizeBytes, startBytes, sizeBytes);
  return {
    sizeBytes,
    writeAt(offsetBytes, bytes) {
      assertInside(sizeBytes, offsetBytes, bytes.length);
      return sink.writeAt(startBytes + offsetBytes, bytes);
    },
  };
}

function assertInside(sizeBytes: number, offsetBytes: number, length: number): void {
  if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0 || offsetBytes + length > sizeBytes) {
    throw new RangeError(`${length} bytes at ${offsetBytes} do not fit an image of ${sizeBytes} bytes`);
  }
}

/** The parts of `bytes` worth writing, cut where blocks of the file begin. */
function* nonZeroRuns(offsetBytes: number, bytes: Uint8Array): Generator<{ start: number; end: number }> {
  let runStart = -1;
  let start = 0;
  while (start < bytes.length) {
    const end = Math.min(bytes.length, start + blockBytes - ((offsetBytes + start) % blockBytes));
    const isZero = zeroBlock.compare(bytes, start, end, 0, end - start) === 0;
    if (isZero && runStart >= 0) yield { start: runStart, end: start };
    if (isZero) runStart = -1;
    else if (runStart < 0) runStart = start;
    start = end;
  }
  if (runStart >= 0) yield { start: runStart, end: bytes.length };
}

async function writeFully(handle: FileHandle, bytes: Uint8Array, offsetBytes: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const { bytesWritten } = await handle.write(
      bytes,
      written,
      bytes.length - written,
      offsetBytes + written,
    );
    written += bytesWritten;
  }
}
