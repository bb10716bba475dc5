/** Gets everything that a lock names into the cache. */
import { ConfigError } from '../../appliance/base/errors.ts';
import { type BlobClaim, sha256 } from './blob.ts';
import type { PackageCache } from './cache.ts';
import { mapConcurrently } from './concurrency.ts';
import { PackageError } from './errors.ts';
import { fetchBlob, type FetchContext } from './fetch.ts';
import { type Lock, type LockedPackage, type LockedSuite, parseDate } from './lockfile.ts';
import { type Mirrors, snapshotUrls } from './mirror.ts';
import { fetchNpmPackage, npmDigest, type NpmCommand } from './npm.ts';
import { forgetUnpacked } from './unpack.ts';

export interface DownloadOptions {
  readonly cache: PackageCache;
  readonly mirrors: Mirrors;
  /** Base URL of an archive of old states, for what the mirrors have no more. */
  readonly snapshots?: string | undefined;
  readonly offline: boolean;
  /** Hash again what is cached, and unpack it again. */
  readonly recheck: boolean;
  /** For npm. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly npmCommand?: NpmCommand | undefined;
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined;
}

export interface DownloadProgress {
  readonly doneBytes: number;
  /** As far as known: npm tarballs tell no size. */
  readonly totalBytes: number;
  readonly doneFiles: number;
  readonly totalFiles: number;
}

/** Enough to fill a line, few enough that no mirror minds. */
export const concurrentDownloads = 6;

/** One thing to download. */
interface Job {
  readonly claim: BlobClaim;
  readonly fetch: (context: FetchContext) => Promise<number>;
}

/**
 * Downloads what the cache lacks. Returns the number of bytes downloaded.
 * @throws IntegrityError when a file is not what the lock says; PackageError when it cannot be had, or
 *   when `offline` and something is missing
 */
export async function downloadLocked(
  lock: Lock,
  options: DownloadOptions,
  context: FetchContext,
): Promise<number> {
  const { cache, offline, recheck } = options;
  const { signal } = context;
  const jobs = jobsOf(lock, options);
  if (recheck) {
    for (const { claim } of jobs) {
      await cache.recheckBlob(claim.digest, signal);
      await forgetUnpacked(cache, claim.digest);
    }
  }
  const found = await Promise.all(jobs.map(({ claim }) => cache.hasBlob(claim)));
  const missing = jobs.filter((_, index) => found[index] === false);
  if (missing.length > 0 && offline) {
    const names = missing.slice(0, 3).map(({ claim }) => claim.subject);
    const more = missing.length > names.length ? ` and ${missing.length - names.length} more` : '';
    throw new PackageError(
      'offline',
      `${names.join(', ')}${more} ${missing.length === 1 ? 'is' : 'are'} not in the cache`,
      'Run it once without --offline, with the same target',
    );
  }
  const totalBytes = missing.reduce((sum, { claim }) => sum + (claim.sizeBytes ?? 0), 0);
  let doneBytes = 0;
  let doneFiles = 0;
  const report = () => {
    const totalFiles = missing.length;
    options.onProgress?.({ doneBytes, totalBytes, doneFiles, totalFiles });
  };
  await mapConcurrently(missing, { limit: concurrentDownloads, signal }, async ({ fetch }, own) => {
    const onBytes = (count: number) => {
      doneBytes += count;
      report();
    };
    await fetch({ ...context, signal: own, onBytes });
    doneFiles++;
    report();
  });
  return doneBytes;
}

function jobsOf(lock: Lock, options: DownloadOptions): readonly Job[] {
  const { cache, mirrors, snapshots, env, npmCommand } = options;
  const jobs = new Map<string, Job>();
  for (const locked of [...lock.packages, ...lock.alone]) {
    const suite = lock.suites.find(({ name }) => name === locked.suite);
    if (suite === undefined) {
      throw new ConfigError(
        'suites',
        `The lockfile has ${locked.name} from ${locked.suite}, a suite that it does not list`,
        'Give the file that was written beside an image, unchanged',
      );
    }
    const claim: BlobClaim = {
      digest: sha256(locked.sha256),
      sizeBytes: locked.sizeBytes,
      subject: locked.filename.replace(/^.*\//, ''),
    };
    const urls = packageUrls(locked, suite, mirrors, snapshots);
    jobs.set(locked.sha256, { claim, fetch: (own) => fetchBlob(cache, claim, urls, own) });
  }
  for (const locked of lock.npm) {
    const claim: BlobClaim = { digest: npmDigest(locked), subject: `${locked.name}@${locked.version}` };
    jobs.set(locked.integrity, {
      claim,
      fetch: ({ signal, onBytes }) =>
        fetchNpmPackage(cache, locked, {
          env,
          npmCommand,
          signal,
          ...(onBytes !== undefined && { onBytes }),
        }),
    });
  }
  return [...jobs.values()];
}

function packageUrls(
  { filename }: LockedPackage,
  { archive, date }: LockedSuite,
  mirrors: Mirrors,
  snapshots: string | undefined,
): readonly string[] {
  const path = escapePath(filename);
  return [
    ...mirrors[archive].map((base) => `${base}/${path}`),
    ...(snapshots === undefined ? [] : snapshotUrls(snapshots, archive, parseDate(date), path)),
  ];
}

/** Some object stores read a bare `+` as a blank. */
function escapePath(path: string): string {
  return path
    .split('/')
    .map((part) => encodeURIComponent(part))
    .join('/');
}
