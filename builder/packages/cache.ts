/**
 * The cache on the operator's disk: bytes named by their digest, and small JSON documents about them.
 *
 * There is no lock. Every file is written below `temporary/`, flushed, and renamed to its final name, and
 * a blob gets its name only after its digest was checked. So a file with a final name is whole, whatever
 * was interrupted, and two builds at once at worst download the same blob twice.
 *
 *   sha256/<ab>/<hex>, sha512/<ab>/<hex>   blobs
 *   indexes/, resolutions/, unpacked/      documents and archives made from blobs
 *   temporary/                             being written
 */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { flushDirectory } from '../../appliance/base/atomic-file.ts';
import { systemCode } from '../../appliance/base/errors.ts';
import { type BlobClaim, type BlobSink, type Digest, HashingSink, sha256 } from './blob.ts';
import { PackageError } from './errors.ts';

/** A download writes at least once per stall timeout, so what rested for so long belongs to nobody. */
const staleTemporaryMs = 3_600_000;

/** The longest document is the list of files in the arm64 kernel's package, about 1 MB. */
const maxDocumentBytes = 64 * 1024 * 1024;

const cacheTag = `Signature: 8a477f597d28d172789f06886806bc55
# A cache made by chatmail-build, which may be deleted at any time. See https://bford.info/cachedir/
`;

export class PackageCache {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /**
   * Opens the cache, makes its directory and removes what interrupted builds left behind.
   * @throws PackageError when the directory cannot be made or written
   */
  static async open(directory: string, nowMs: number): Promise<PackageCache> {
    const cache = new PackageCache(directory);
    await explainingWrites(directory, async () => {
      await mkdir(join(directory, 'temporary'), { recursive: true });
      await cache.#sweep(nowMs);
      const tag = join(directory, 'CACHEDIR.TAG');
      if ((await sizeOf(tag)) === undefined)
        await cache.#writeAtomically(tag, (file) => file.write(cacheTag));
    });
    return cache;
  }

  blobPath(digest: Digest): string {
    return join(this.directory, digest.algorithm, digest.hex.slice(0, 2), digest.hex);
  }

  /** A file made from blobs, such as `unpacked/<digest>.tar`. */
  path(relativePath: string): string {
    return join(this.directory, relativePath);
  }

  /** The size of a blob, or undefined. Cheap: the digest was checked when the blob came in. */
  async blobSize(digest: Digest): Promise<number | undefined> {
    return await sizeOf(this.blobPath(digest));
  }

  /** True when the blob is there with the size that is expected, if one is. */
  async hasBlob({ digest, sizeBytes }: Pick<BlobClaim, 'digest' | 'sizeBytes'>): Promise<boolean> {
    const found = await this.blobSize(digest);
    return found !== undefined && (sizeBytes === undefined || found === sizeBytes);
  }

  /** Hashes a blob again; one that does not match any more is removed. False when it is gone or wrong. */
  async recheckBlob(digest: Digest, signal: AbortSignal): Promise<boolean> {
    const hash = createHash(digest.algorithm);
    const path = this.blobPath(digest);
    if ((await sizeOf(path)) === undefined) return false;
    for await (const chunk of createReadStream(path, { signal, highWaterMark: 1 << 20 })) {
      hash.update(chunk as Uint8Array);
    }
    if (hash.digest('hex') === digest.hex) return true;
    await rm(path, { force: true });
    return false;
  }

  /**
   * Stores a blob that `produce` writes. Returns its size.
   * @throws IntegrityError when the bytes are not those declared; nothing is kept then
   */
  async storeBlob(claim: BlobClaim, produce: (sink: BlobSink) => Promise<void>): Promise<number> {
    return await explainingWrites(this.directory, async () => {
      let sizeBytes = 0;
      await this.#writeAtomically(this.blobPath(claim.digest), async (file) => {
        const sink = new HashingSink(file, claim);
        await produce(sink);
        sink.finish();
        sizeBytes = sink.writtenBytes;
      });
      return sizeBytes;
    });
  }

  /** Stores bytes under their own sha256, which is returned. */
  async storeBytes(bytes: Uint8Array, subject: string): Promise<string> {
    const hex = createHash('sha256').update(bytes).digest('hex');
    const claim = { digest: sha256(hex), sizeBytes: bytes.length, subject };
    if (!(await this.hasBlob(claim))) await this.storeBlob(claim, (sink) => sink.write(bytes));
    return hex;
  }

  /** Writes a file made from blobs: whole or not at all. */
  async writeFile(relativePath: string, produce: (file: FileHandle) => Promise<unknown>): Promise<void> {
    await explainingWrites(this.directory, () => this.#writeAtomically(this.path(relativePath), produce));
  }

  async writeDocument(relativePath: string, value: unknown): Promise<void> {
    await this.writeFile(relativePath, (file) => file.writeFile(JSON.stringify(value)));
  }

  /** A document's value, or undefined when there is none, or none that can be read. */
  async readDocument(relativePath: string): Promise<unknown> {
    const path = this.path(relativePath);
    const sizeBytes = await sizeOf(path);
    if (sizeBytes === undefined || sizeBytes > maxDocumentBytes) return undefined;
    try {
      return JSON.parse(await readFile(path, 'utf8')) as unknown;
    } catch (error) {
      // A document that cannot be read is made again from what it describes.
      if (error instanceof SyntaxError || systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async #writeAtomically(path: string, produce: (file: FileHandle) => Promise<unknown>): Promise<void> {
    const temporary = join(this.directory, 'temporary', randomBytes(12).toString('hex'));
    try {
      {
        await using file = await open(temporary, 'wx+', 0o644);
        await produce(file);
        await file.sync();
      }
      await mkdir(dirname(path), { recursive: true });
      await renameOver(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
    await flushDirectory(dirname(path));
  }

  async #sweep(nowMs: number): Promise<void> {
    const directory = join(this.directory, 'temporary');
    for (const name of await readdir(directory)) {
      const path = join(directory, name);
      const modifiedMs = await stat(path).then(
        (found) => found.mtimeMs,
        () => undefined,
      );
      if (modifiedMs !== undefined && nowMs - modifiedMs > staleTemporaryMs) {
        await rm(path, { recursive: true, force: true });
      }
    }
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const found = await stat(path);
    return found.isFile() ? found.size : undefined;
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Windows refuses to replace a file that another process reads: then the other one's copy is as good. */
async function renameOver(temporary: string, path: string): Promise<void> {
  try {
    await rename(temporary, path);
  } catch (error) {
    const code = systemCode(error);
    const isBusy = code === 'EPERM' || code === 'EACCES' || code === 'EBUSY' || code === 'EEXIST';
    if (process.platform !== 'win32' || !isBusy || (await sizeOf(path)) === undefined) throw error;
    await rm(temporary, { force: true });
  }
}

/** Turns what a disk refuses into what the operator can do about it. */
async function explainingWrites<T>(directory: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    switch (systemCode(error)) {
      case 'ENOSPC':
      case 'EDQUOT':
        throw new PackageError(
          'disk-full',
          `The disk that holds the cache ${directory} is full`,
          'Free some space (about 2 GB are needed), or set CHATMAIL_BUILD_CACHE to a directory on another disk',
          { cause: error },
        );
      case 'EACCES':
      case 'EPERM':
      case 'EROFS':
        throw new PackageError(
          'not-writable',
          `The cache ${directory} cannot be written`,
          'Give yourself the right to write there, or set CHATMAIL_BUILD_CACHE to a directory of your own',
          { cause: error },
        );
      default:
        throw error;
    }
  }
}
