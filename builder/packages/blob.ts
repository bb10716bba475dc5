/** Bytes named by their digest, and the sink that lets nothing else through. */
import { createHash, type Hash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { IntegrityError } from '../../appliance/base/errors.ts';

export interface Digest {
  readonly algorithm: 'sha256' | 'sha512';
  readonly hex: string;
}

/** What a blob has to be, as a signed index or a pinned list declares it. */
export interface BlobClaim {
  readonly digest: Digest;
  /** Unknown for npm tarballs until the first download. */
  readonly sizeBytes?: number;
  /** Names the file in errors. */
  readonly subject: string;
}

/** Takes the bytes of a blob that is being written. */
export interface BlobSink {
  readonly writtenBytes: number;
  /** @throws IntegrityError as soon as there is more than declared */
  write(chunk: Uint8Array): Promise<void>;
  /** Forgets what was written, for a download that has to start over. */
  restart(): Promise<void>;
}

export function sha256(hex: string): Digest {
  return { algorithm: 'sha256', hex };
}

/** Writes to a file, and compares what was written with what was claimed. */
export class HashingSink implements BlobSink {
  readonly #file: FileHandle;
  readonly #claim: BlobClaim;
  #hash: Hash;
  #writtenBytes = 0;

  constructor(file: FileHandle, claim: BlobClaim) {
    this.#file = file;
    this.#claim = claim;
    this.#hash = createHash(claim.digest.algorithm);
  }

  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  async write(chunk: Uint8Array): Promise<void> {
    const { sizeBytes, subject } = this.#claim;
    const total = this.#writtenBytes + chunk.length;
    if (sizeBytes !== undefined && total > sizeBytes) {
      throw new IntegrityError({
        subject,
        expected: `${sizeBytes} bytes`,
        found: 'more than that',
        message: `${subject} is larger than declared: expected ${sizeBytes} bytes, found more`,
      });
    }
    this.#hash.update(chunk);
    for (let done = 0; done < chunk.length;) {
      // At a position of its own, since restart() goes back to the beginning.
      const { bytesWritten } = await this.#file.write(
        chunk,
        done,
        chunk.length - done,
        this.#writtenBytes + done,
      );
      done += bytesWritten;
    }
    this.#writtenBytes = total;
  }

  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.#hash = createHash(this.#claim.digest.algorithm);
    this.#writtenBytes = 0;
  }

  finish(): void {
    const { digest, sizeBytes, subject } = this.#claim;
    if (sizeBytes !== undefined && this.#writtenBytes !== sizeBytes) {
      throw new IntegrityError({
        subject,
        expected: `${sizeBytes} bytes`,
        found: `${this.#writtenBytes} bytes`,
      });
    }
    const found = this.#hash.digest('hex');
    if (found !== digest.hex) {
      throw new IntegrityError({
        subject,
        expected: `${digest.algorithm} ${digest.hex}`,
        found: `${digest.algorithm} ${found}`,
      });
    }
  }
}
