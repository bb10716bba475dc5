/**
 * Compresses data blocks on several cores and writes them one behind the other, in the order they came. The
 * compression runs on libuv's thread pool (UV_THREADPOOL_SIZE, 4 unless set before the first use), so at most
 * that many are at work whatever `workers` says. Fewer workers than threads leave room for reads and writes,
 * and more workers than cores only push each other out of the caches (4 on 2 cores: 10 % more CPU time).
 */
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { zstdCompress } from 'node:zlib';
import { zstdOptions } from './metadata.ts';
import { storedBlockBit } from './superblock.ts';

const compress = promisify(zstdCompress);

/** Blocks accepted per worker before `append` waits: one at work, one waiting, two finished out of turn. */
const blocksPerWorker = 4;

export interface StoredBlock {
  /** Offset in the image. */
  readonly at: number;
  /** Bytes in the image, with bit 24 set if they are not compressed: as block lists have it. */
  readonly size: number;
}

export class BlockWriter {
  readonly #file: FileHandle;
  readonly #level: number;
  readonly #workers: number;
  readonly #signal: AbortSignal | undefined;
  readonly #accepted: Promise<void>[] = [];
  #last: Promise<void> = Promise.resolve();
  #working = 0;
  readonly #waiting: (() => void)[] = [];
  #position: number;

  /** @param position where the first block goes */
  constructor(
    file: FileHandle,
    position: number,
    options: { readonly level: number; readonly workers: number; readonly signal?: AbortSignal | undefined },
  ) {
    this.#file = file;
    this.#position = position;
    this.#level = options.level;
    this.#workers = options.workers;
    this.#signal = options.signal;
  }

  /** Where the next block goes, once all accepted ones are written. */
  get position(): number {
    return this.#position;
  }

  /**
   * Accepts a block, which must not be written to any more, and calls `stored` when it has its place. Waits
   * while too many are on their way. Rejects with what made an earlier block fail.
   */
  async append(block: Uint8Array, stored: (block: StoredBlock) => void): Promise<void> {
    this.#signal?.throwIfAborted();
    const packing = this.#compress(block);
    const previous = this.#last;
    const writing = (async () => {
      const [packed] = await Promise.all([packing, previous]);
      this.#signal?.throwIfAborted();
      const isSmaller = packed.length < block.length;
      const body = isSmaller ? packed : block;
      const at = this.#position;
      await writeFully(this.#file, body, at);
      this.#position = at + body.length;
      stored({ at, size: isSmaller ? body.length : body.length | storedBlockBit });
    })();
    // A failure shows where it is waited for: in a later append, or in drain.
    writing.catch(() => {});
    this.#last = writing;
    this.#accepted.push(writing);
    if (this.#accepted.length >= this.#workers * blocksPerWorker) await this.#accepted.shift();
  }

  /** Waits until all accepted blocks are written. */
  async drain(): Promise<void> {
    await this.#last;
    this.#accepted.length = 0;
  }

  /** Waits until nothing is at work any more, however it ended. */
  async settle(): Promise<void> {
    await Promise.allSettled(this.#accepted);
  }

  async #compress(block: Uint8Array): Promise<Uint8Array> {
    if (this.#working < this.#workers) this.#working++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      this.#signal?.throwIfAborted();
      return await compress(block, zstdOptions(this.#level, block.length));
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#working--;
    }
  }
}

/** Writes all of `bytes` at `position`. */
export async function writeFully(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
