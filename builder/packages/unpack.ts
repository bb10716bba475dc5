/**
 * From a verified blob of the cache to a tree of files. The archive inside is decompressed once, to a plain
 * tar that stays in the cache, so that contents can be read at any time, in any order, without unpacking
 * anything to a file system: modes, owners and links survive on every operating system.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, rm } from 'node:fs/promises';
import * as v from 'valibot';
import { ProtocolError, systemCode } from '../../appliance/base/errors.ts';
import { readArMembers } from '../formats/ar.ts';
import { decompress } from '../formats/decompress.ts';
import { type FileSource, openFileSource, readChunks } from '../formats/random-access.ts';
import { indexTar } from '../formats/tar.ts';
import type { TreeEntry } from '../formats/tree.ts';
import { type Digest, sha256 } from './blob.ts';
import type { PackageCache } from './cache.ts';
import { mapConcurrently } from './concurrency.ts';
import type { Lock, LockedNpmPackage, LockedPackage } from './lockfile.ts';
import { npmDigest } from './npm.ts';

/** A package whose contents can be read until it is disposed. */
export interface UnpackedPackage extends AsyncDisposable {
  readonly name: string;
  readonly version: string;
  /** Sorted by path; npm's tarballs without their first directory. Contents know their sha256. */
  readonly entries: readonly TreeEntry[];
}

/**
 * dpkg counts what files take on disk, and rounds each up; tar adds a header to each, which for a package of
 * tiny files can be more. Twice the declared size and 16 MiB holds for every package of trixie.
 */
function maxPlainBytes({ installedBytes }: LockedPackage): number {
  return 2 * installedBytes + 16 * 1024 * 1024;
}

/** Node's has 190 MB. */
const maxNpmPlainBytes = 1024 * 1024 * 1024;

/**
 * The files of a Debian package that the cache holds.
 * @throws ProtocolError when it is malformed or larger than its index says
 */
export async function unpackDebianPackage(
  cache: PackageCache,
  locked: LockedPackage,
  signal: AbortSignal,
): Promise<UnpackedPackage> {
  const digest = sha256(locked.sha256);
  const source = await openPlain(cache, digest, async (file) => {
    await using deb = await openFileSource(cache.blobPath(digest));
    const members = await readArMembers(deb, signal);
    const data = members.find(({ name }) => name === 'data.tar' || name.startsWith('data.tar.'));
    if (data === undefined)
      throw new ProtocolError(`The package ${locked.name} ${locked.version} has no data.tar`);
    const packed = readChunks(deb, data.offset, data.sizeBytes, signal);
    await writePlain(file, decompress(packed, { maxOutputBytes: maxPlainBytes(locked), signal }));
  });
  return await indexPlain(cache, source, { ...locked, digest }, signal);
}

/**
 * The files of an npm package that the cache holds, without the directory (`package/`) they all are in.
 * @throws ProtocolError when it is malformed
 */
export async function unpackNpmPackage(
  cache: PackageCache,
  locked: LockedNpmPackage,
  signal: AbortSignal,
): Promise<UnpackedPackage> {
  const digest = npmDigest(locked);
  const source = await openPlain(cache, digest, async (file) => {
    const packed = createReadStream(cache.blobPath(digest), { signal });
    await writePlain(file, decompress(packed, { maxOutputBytes: maxNpmPlainBytes, signal }));
  });
  const tree = await indexPlain(cache, source, { ...locked, digest }, signal);
  const withoutFirst = (path: string) => path.slice(path.indexOf('/') + 1);
  const entries = tree.entries
    .filter(({ path }) => path.includes('/'))
    .map((entry) => ({
      ...entry,
      path: withoutFirst(entry.path),
      ...(entry.kind === 'hardlink' && { target: withoutFirst(entry.target) }),
    }));
  return { ...tree, entries };
}

export interface UnpackedSet extends AsyncDisposable {
  readonly packages: readonly UnpackedPackage[];
  readonly alone: readonly UnpackedPackage[];
  readonly npm: readonly UnpackedPackage[];
}

/** xz takes one core whatever else goes on; the others wait for the disk. */
const concurrentUnpacks = 8;

/**
 * Unpacks all that a lock names, in its order.
 * @param onProgress called as packages are done
 * @throws ProtocolError when a package is malformed
 */
export async function unpackLocked(
  cache: PackageCache,
  lock: Pick<Lock, 'packages' | 'alone' | 'npm'>,
  signal: AbortSignal,
  onProgress?: (done: number, total: number) => void,
): Promise<UnpackedSet> {
  const opened: UnpackedPackage[] = [];
  const dispose = async () => {
    for (const unpacked of opened) await unpacked[Symbol.asyncDispose]();
  };
  const debian = (locked: LockedPackage) => (own: AbortSignal) => unpackDebianPackage(cache, locked, own);
  const jobs = [
    ...lock.packages.map(debian),
    ...lock.alone.map(debian),
    ...lock.npm.map((locked) => (own: AbortSignal) => unpackNpmPackage(cache, locked, own)),
  ];
  try {
    const all = await mapConcurrently(jobs, { limit: concurrentUnpacks, signal }, async (job, own) => {
      const unpacked = await job(own);
      opened.push(unpacked);
      onProgress?.(opened.length, jobs.length);
      return unpacked;
    });
    const npmStart = lock.packages.length + lock.alone.length;
    return {
      packages: all.slice(0, lock.packages.length),
      alone: all.slice(lock.packages.length, npmStart),
      npm: all.slice(npmStart),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function openPlain(
  cache: PackageCache,
  digest: Digest,
  produce: (file: FileHandle) => Promise<void>,
): Promise<FileSource> {
  const path = `unpacked/${digest.hex}.tar`;
  try {
    return await openFileSource(cache.path(path));
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
  await cache.writeFile(path, produce);
  return await openFileSource(cache.path(path));
}

async function writePlain(file: FileHandle, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of chunks) await file.writeFile(chunk);
}

async function indexPlain(
  cache: PackageCache,
  source: FileSource,
  { name, version, digest }: { name: string; version: string; digest: Digest },
  signal: AbortSignal,
): Promise<UnpackedPackage> {
  const dispose = () => source[Symbol.asyncDispose]();
  try {
    const entries = await indexTar(source, {}, signal);
    const digests = await contentDigests(cache, digest, entries, signal);
    return {
      name,
      version,
      entries: entries.map((entry) => withDigest(entry, digests)),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    if (!(error instanceof ProtocolError)) throw error;
    throw new ProtocolError(`The package ${name} ${version} is malformed: ${error.message}`, {
      cause: error,
    });
  }
}

const digestsSchema = v.record(v.string(), v.string());

/**
 * The sha256 of every file, by path: what is made of files is cached by it, and a build where nothing
 * changed need not read a single one.
 */
async function contentDigests(
  cache: PackageCache,
  digest: Digest,
  entries: readonly TreeEntry[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const path = `unpacked/${digest.hex}.json`;
  const known = v.safeParse(digestsSchema, await cache.readDocument(path));
  if (known.success) return new Map(Object.entries(known.output));
  const digests = new Map<string, string>();
  for (const entry of entries) {
    if (entry.kind !== 'file') continue;
    const hash = createHash('sha256');
    for await (const chunk of entry.content.read(signal)) hash.update(chunk);
    digests.set(entry.path, `sha256:${hash.digest('hex')}`);
  }
  await cache.writeDocument(path, Object.fromEntries(digests));
  return digests;
}

function withDigest(entry: TreeEntry, digests: ReadonlyMap<string, string>): TreeEntry {
  const digest = digests.get(entry.path);
  if (entry.kind !== 'file' || digest === undefined) return entry;
  return { ...entry, content: { ...entry.content, digest } };
}

/** Removes what was unpacked of a blob, so that it is unpacked again. */
export async function forgetUnpacked(cache: PackageCache, digest: Digest): Promise<void> {
  for (const suffix of ['tar', 'json']) {
    await rm(cache.path(`unpacked/${digest.hex}.${suffix}`), { force: true });
  }
}
