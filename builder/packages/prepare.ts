/**
 * The package side of a build in one call: from what a target wants, or from a lockfile, to packages that
 * lie in the cache, verified.
 */
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { ConfigError } from '../../appliance/base/errors.ts';
import { type ArchiveRequest, openSuite, readSuitePackages, type VerifiedSuite } from './archive.ts';
import type { PackageCache } from './cache.ts';
import { mapConcurrently } from './concurrency.ts';
import { concurrentDownloads, downloadLocked, type DownloadProgress } from './download.ts';
import type { FetchContext } from './fetch.ts';
import {
  decodeLock,
  encodeLock,
  type Lock,
  type LockedNpmPackage,
  type LockedPackage,
  lockPackage,
} from './lockfile.ts';
import { type Mirrors, snapshotBase } from './mirror.ts';
import type { NpmCommand } from './npm.ts';
import { useProxyOf } from './proxy.ts';
import { formatDate } from './release.ts';
import { type ExcludedPackage, type ResolveRequest, resolvePackages } from './resolve.ts';
import { debianSuites, selectSuites, type Suite } from './suites.ts';
import { PackageUniverse } from './universe.ts';
import type { Clock } from '../../appliance/base/clock.ts';

export interface PackagesRequest extends ResolveRequest {
  readonly architecture: string;
  /** Names of suites; the security suites are always included. */
  readonly suites: readonly string[];
  readonly components: readonly string[];
  readonly npm: readonly LockedNpmPackage[];
  readonly mirrors: Mirrors;
  readonly cache: PackageCache;
  /** Build exactly this: `wanted`, `alone`, `excludes`, `suites` and `npm` are not looked at. */
  readonly lock?: Lock | undefined;
  /** Touch no network. */
  readonly offline?: boolean | undefined;
  /** Ask the mirror for newer indexes however fresh the cached ones are. */
  readonly refresh?: boolean | undefined;
  /** Hash again what the cache holds, and fetch what does not match any more. */
  readonly recheck?: boolean | undefined;
}

export interface PackagesContext {
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** For npm and the proxy. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly onProgress?: (progress: PackagesProgress) => void;
  /** What the archive is; Debian 13 when not given. */
  readonly knownSuites?: readonly Suite[];
  readonly snapshotBase?: string;
  readonly npmCommand?: NpmCommand;
  readonly stallTimeoutMs?: number;
}

export type PackagesProgress =
  | { readonly phase: 'indexes'; readonly doneBytes: number }
  | { readonly phase: 'resolve' }
  | ({ readonly phase: 'download' } & DownloadProgress);

export interface PreparedPackages {
  /** The closed set, sorted by name; all of it lies in the cache. */
  readonly packages: readonly LockedPackage[];
  readonly alone: readonly LockedPackage[];
  readonly npm: readonly LockedNpmPackage[];
  readonly lock: Lock;
  /** Empty when built from a lockfile. */
  readonly excluded: readonly ExcludedPackage[];
  readonly unusedExcludes: readonly string[];
  /** 0 when everything was cached. */
  readonly downloadedBytes: number;
}

type Resolved = Pick<PreparedPackages, 'lock' | 'excluded' | 'unusedExcludes'>;

/**
 * Resolves (or takes from the lockfile) and downloads what an image is made of.
 * @throws IntegrityError for whatever is not what a signed index, a lockfile or a pin says; PackageError
 *   when something cannot be had; ConfigError when the request or the lockfile is at fault
 */
export async function preparePackages(
  request: PackagesRequest,
  context: PackagesContext,
): Promise<PreparedPackages> {
  using _proxy = useProxyOf(context.env);
  let downloadedBytes = 0;
  const fetchContext: FetchContext = {
    signal: context.signal,
    clock: context.clock,
    ...(context.stallTimeoutMs !== undefined && { stallTimeoutMs: context.stallTimeoutMs }),
    onBytes: (count) => {
      downloadedBytes += count;
      context.onProgress?.({ phase: 'indexes', doneBytes: downloadedBytes });
    },
  };
  const resolved =
    request.lock === undefined
      ? await resolveCached(request, context, fetchContext)
      : fromLock(request.lock, request);
  const { lock } = resolved;
  downloadedBytes += await downloadLocked(
    lock,
    {
      cache: request.cache,
      mirrors: request.mirrors,
      // What was just resolved is on the mirrors; what a lockfile names may be gone from them.
      snapshots: request.lock === undefined ? undefined : (context.snapshotBase ?? snapshotBase),
      offline: request.offline === true,
      recheck: request.recheck === true,
      env: context.env,
      npmCommand: context.npmCommand,
      onProgress: (progress) => context.onProgress?.({ phase: 'download', ...progress }),
    },
    fetchContext,
  );
  return { ...resolved, packages: lock.packages, alone: lock.alone, npm: lock.npm, downloadedBytes };
}

function fromLock(lock: Lock, { architecture }: PackagesRequest): Resolved {
  if (lock.architecture !== architecture) {
    throw new ConfigError(
      'lock',
      `The lockfile is for ${lock.architecture}, and the target is for ${architecture}`,
      'Give the lockfile of an image for the same target',
    );
  }
  return { lock, excluded: [], unusedExcludes: [] };
}

const cachedResolutionSchema = v.strictObject({
  lock: v.string(),
  excluded: v.array(v.strictObject({ name: v.string(), reason: v.string(), wantedBy: v.array(v.string()) })),
  unusedExcludes: v.array(v.string()),
});

/** Raised when the resolver would choose otherwise, or a lock looks different. */
const resolutionFormat = 2;

/** Same indexes and same wishes give the same packages: reading 60 MB of indexes again is not needed. */
async function resolveCached(
  request: PackagesRequest,
  context: PackagesContext,
  fetchContext: FetchContext,
): Promise<Resolved> {
  const { cache, architecture, components, wanted, alone, excludes, npm } = request;
  const suites = selectSuites(request.suites, context.knownSuites ?? debianSuites);
  const archiveRequest: ArchiveRequest = {
    cache,
    mirrors: request.mirrors,
    architecture,
    components,
    offline: request.offline === true,
    refresh: request.refresh === true,
  };
  const verified = await mapConcurrently(
    suites,
    { limit: concurrentDownloads, signal: context.signal },
    (suite, signal) => openSuite(suite, archiveRequest, { ...fetchContext, signal }),
  );
  const indexes = verified.map(({ suite, dateSec, isAutomatic, indexes: files }) => ({
    suite: suite.name,
    dateSec,
    isAutomatic,
    files: files.map(({ sha256: digest }) => digest),
  }));
  const key = JSON.stringify({ resolutionFormat, architecture, indexes, wanted, alone, excludes, npm });
  const path = `resolutions/${createHash('sha256').update(key).digest('hex')}.json`;
  const known = v.safeParse(cachedResolutionSchema, await cache.readDocument(path));
  if (known.success) {
    return { ...known.output, lock: decodeLock(known.output.lock, cache.path(path)) };
  }
  context.onProgress?.({ phase: 'resolve' });
  const resolved = await resolve(verified, request, archiveRequest, fetchContext);
  await cache.writeDocument(path, { ...resolved, lock: encodeLock(resolved.lock) });
  return resolved;
}

async function resolve(
  verified: readonly VerifiedSuite[],
  request: PackagesRequest,
  archiveRequest: ArchiveRequest,
  fetchContext: FetchContext,
): Promise<Resolved> {
  const universe = new PackageUniverse(request.architecture);
  for (const suite of verified) {
    for await (const stanza of readSuitePackages(suite, archiveRequest, fetchContext)) {
      universe.add(stanza, suite.suite.name, suite.isAutomatic);
    }
  }
  const { packages, alone, excluded, unusedExcludes } = resolvePackages(universe, request);
  const lock: Lock = {
    format: 1,
    architecture: request.architecture,
    suites: verified.map(({ suite, dateSec }) => ({
      name: suite.name,
      archive: suite.archive,
      date: formatDate(dateSec),
    })),
    packages: packages.map(lockPackage),
    alone: alone.map(lockPackage),
    npm: request.npm,
  };
  // Through its text, so that a first build and one from the cache see the same.
  return { lock: decodeLock(encodeLock(lock), 'the resolution'), excluded, unusedExcludes };
}
