/**
 * Bytes that can be read at any offset, and `Content` cut out of them without copying. One `Source` is one
 * open file however many slices point into it, so a tree of thousands of files costs one descriptor.
 */
import { open } from 'node:fs/promises';
import type { Content } from './tree.ts';

/** Big enough that the system call is cheap, small enough that many slices may be read at once. */
const chunkBytes = 1024 * 1024;

/** Bytes with a known size that can be read at any offset, any number of times, concurrently. */
export interface Source {
  /** For messages: a path, or what the bytes are. */
  readonly name: string;
  readonly sizeBytes: number;
  /**
   * Exactly `length` bytes from `offset`. The result belongs to the source: it may be a view of shared
   * memory, so it is read and never written to.
   * @throws RangeError if that is not inside the source
   */
  readAt(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>;
}

export interface FileSource extends Source, AsyncDisposable {}

/**
 * Opens a file for reading. The source stays usable until it is disposed; slices read after that fail.
 * @throws the system's error (ENOENT …); an Error if `path` is not a regular file or shrinks meanwhile
 */
export async function openFileSource(path: string): Promise<FileSource> {
  const handle = await open(path, 'r');
  let sizeBytes: number;
  try {
    const status = await handle.stat();
    if (!status.isFile()) throw new Error(`${path} is not a regular file`);
    sizeBytes = status.size;
  } catch (error) {
    await handle.close();
    throw error;
  }
  return {
    name: path,
    sizeBytes,
    async readAt(offset, length, signal) {
      assertInside(path, sizeBytes, offset, length);
      const bytes = new Uint8Array(length);
      let filled = 0;
      while (filled < length) {
        signal?.throwIfAborted();
        const { bytesRead } = await handle.read(bytes, filled, length - filled, offset + filled);
        if (bytesRead === 0)
          throw new Error(`${path} became shorter than ${sizeBytes} bytes while it was read`);
        filled += bytesRead;
      }
      return bytes;
    },
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

/** A source over bytes held in memory. */
export function bytesSource(bytes: Uint8Array, name = 'bytes in memory'): Source {
  return {
    name,
    sizeBytes: bytes.length,
    async readAt(offset, length, signal) {
      signal?.throwIfAborted();
      assertInside(name, bytes.length, offset, length);
      return bytes.subarray(offset, offset + length);
    },
  };
}

/**
 * `sizeBytes` bytes of `source` from `offset`, as content: nothing is read until it is asked for, then in
 * chunks of at most 1 MiB.
 * @throws RangeError if that is not inside the source
 */
export function sliceContent(source: Source, offset: number, sizeBytes: number, digest?: string): Content {
  assertInside(source.name, source.sizeBytes, offset, sizeBytes);
  return {
    sizeBytes,
    ...(digest === undefined ? {} : { digest }),
    read: (signal) => readChunks(source, offset, sizeBytes, signal),
  };
}

/** The bytes of `source` in order, in chunks of at most 1 MiB. */
export async function* readChunks(
  source: Source,
  offset = 0,
  sizeBytes = source.sizeBytes - offset,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const end = offset + sizeBytes;
  for (let at = offset; at < end; at += chunkBytes) {
    yield await source.readAt(at, Math.min(chunkBytes, end - at), signal);
  }
}

function assertInside(name: string, sizeBytes: number, offset: number, length: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (!valid || offset + length > sizeBytes) {
    throw new RangeError(`${length} bytes at ${offset} are not inside ${name}, which has ${sizeBytes}`);
  }
}
