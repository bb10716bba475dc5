/**
 * The signed indexes of a suite: InRelease, verified and checked, then the Packages that it lists, by their
 * digests. What was verified is remembered in the cache, so that a second build within a few hours asks
 * nobody, and so that a mirror cannot hand out an older state than the one already seen.
 */
import { createReadStream } from 'node:fs';
import * as v from 'valibot';
import { IntegrityError } from '../../appliance/base/errors.ts';
import { decompress } from '../formats/decompress.ts';
import { sha256 } from './blob.ts';
import type { PackageCache } from './cache.ts';
import { PackageError } from './errors.ts';
import { fetchBlob, type FetchContext, fetchText, firstThatHas } from './fetch.ts';
import { loadKeys, verifyClearsigned } from './keyring.ts';
import { type Mirrors, suiteUrls } from './mirror.ts';
import { type PackageStanza, readPackageStanzas } from './package-records.ts';
import { checkDates, formatDate, readRelease, type Release } from './release.ts';
import type { Suite } from './suites.ts';

/** A verified Packages index of a suite. */
export interface PackagesIndex {
  /** Below the suite's directory: `main/binary-amd64/Packages.xz`. */
  readonly path: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** Its size when decompressed. */
  readonly plainBytes: number;
}

/** A suite whose InRelease was verified. */
export interface VerifiedSuite {
  readonly suite: Suite;
  readonly dateSec: number;
  readonly isAutomatic: boolean;
  readonly hasByHash: boolean;
  readonly indexes: readonly PackagesIndex[];
}

export interface ArchiveRequest {
  readonly cache: PackageCache;
  readonly mirrors: Mirrors;
  readonly architecture: string;
  readonly components: readonly string[];
  /** Asks no mirror: what the cache has verified must do. */
  readonly offline: boolean;
  /** Asks the mirror however fresh the cache is. */
  readonly refresh: boolean;
}

/** Debian's archive changes four times a day. */
export const maxIndexAgeMs = 6 * 3_600_000;

/** Trixie's has 140 KB. */
const maxInReleaseBytes = 8 * 1024 * 1024;

/** What the cache remembers of a suite: which InRelease was verified, by whom, and when it was current. */
const stateSchema = v.strictObject({
  format: v.literal(1),
  inRelease: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  signedBy: v.array(v.string()),
  /** The keys it was held against: other keys mean verifying again. */
  keys: v.array(v.string()),
  dateSec: v.number(),
  validUntilSec: v.nullable(v.number()),
  isAutomatic: v.boolean(),
  hasByHash: v.boolean(),
  separatesAll: v.boolean(),
  /** Only the Packages indexes. */
  files: v.record(v.string(), v.strictObject({ sha256: v.string(), sizeBytes: v.number() })),
  checkedAtMs: v.number(),
  lastModified: v.nullable(v.string()),
});

type SuiteState = v.InferOutput<typeof stateSchema>;

/**
 * The verified state of a suite: from the cache while it is fresh, otherwise from a mirror.
 * @throws IntegrityError for anything that is not signed, current and of this suite; PackageError when no
 *   mirror has it, or when `offline` and the cache has none
 */
export async function openSuite(
  suite: Suite,
  request: ArchiveRequest,
  context: FetchContext,
): Promise<VerifiedSuite> {
  const { cache, offline, refresh } = request;
  const nowMs = context.clock.wallMs();
  const known = await readState(suite, cache);
  if (offline) {
    if (known === undefined) throw notCached(`The index of ${suite.name}`);
    if (isExpired(known, nowMs)) {
      throw new PackageError(
        'offline',
        `The cached index of ${suite.name} expired on ${formatDate(known.validUntilSec ?? 0)}`,
        'Run it once without --offline, or build what an earlier image was made of with --lock FILE',
      );
    }
    return verifiedSuite(suite, known, request);
  }
  const ageMs = known === undefined ? Number.POSITIVE_INFINITY : nowMs - known.checkedAtMs;
  const isFresh = ageMs >= 0 && ageMs < maxIndexAgeMs;
  if (known !== undefined && isFresh && !isExpired(known, nowMs) && !refresh) {
    return verifiedSuite(suite, known, request);
  }
  const current = await fetchState(suite, known, request, context);
  await cache.writeDocument(statePath(suite), current);
  return verifiedSuite(suite, current, request);
}

function isExpired({ validUntilSec }: SuiteState, nowMs: number): boolean {
  return validUntilSec !== null && validUntilSec * 1000 < nowMs;
}

async function fetchState(
  suite: Suite,
  known: SuiteState | undefined,
  { cache, mirrors }: ArchiveRequest,
  context: FetchContext,
): Promise<SuiteState> {
  const nowMs = context.clock.wallMs();
  const urls = suiteUrls(mirrors, suite, 'InRelease');
  const subject = `InRelease of ${suite.name}`;
  return await firstThatHas(urls, async (url) => {
    const fetched = await fetchText(
      url,
      { subject, maxBytes: maxInReleaseBytes, modifiedSince: known?.lastModified ?? null },
      context,
    );
    if (fetched.kind === 'not-modified') {
      if (known === undefined) throw notCached(subject);
      checkDates(known, subject, nowMs);
      return { ...known, checkedAtMs: nowMs };
    }
    const keys = await loadKeys(suite.keys);
    const signed = await verifyClearsigned(fetched.text, { keys, subject, nowMs });
    const release = readRelease(signed.text, { suite, subject, nowMs });
    if (known !== undefined && release.dateSec < known.dateSec) {
      throw new IntegrityError({
        subject,
        expected: `a date not before ${formatDate(known.dateSec)}`,
        found: formatDate(release.dateSec),
        message: `${subject} is older than the one seen before: expected ${formatDate(known.dateSec)} or later, found ${formatDate(release.dateSec)}. The mirror is behind, or somebody holds back updates`,
      });
    }
    const inRelease = await cache.storeBytes(new TextEncoder().encode(fetched.text), subject);
    return stateOf(suite, release, {
      inRelease,
      signedBy: [...signed.signedBy],
      checkedAtMs: nowMs,
      lastModified: fetched.lastModified,
    });
  });
}

function stateOf(
  suite: Suite,
  release: Release,
  rest: Pick<SuiteState, 'inRelease' | 'signedBy' | 'checkedAtMs' | 'lastModified'>,
): SuiteState {
  const files = [...release.files].filter(([path]) => /\/binary-[a-z0-9]+\/Packages(?:\.[gx]z)?$/.test(path));
  return {
    format: 1,
    ...rest,
    keys: keyNames(suite),
    dateSec: release.dateSec,
    validUntilSec: release.validUntilSec,
    isAutomatic: release.isAutomatic,
    hasByHash: release.hasByHash,
    separatesAll: release.separatesAll,
    files: Object.fromEntries(files),
  };
}

function statePath(suite: Suite): string {
  return `indexes/${suite.archive}-${suite.name}.json`;
}

async function readState(suite: Suite, cache: PackageCache): Promise<SuiteState | undefined> {
  const parsed = v.safeParse(stateSchema, await cache.readDocument(statePath(suite)));
  if (!parsed.success) return undefined;
  const isSameKeyring = parsed.output.keys.join() === keyNames(suite).join();
  return isSameKeyring ? parsed.output : undefined;
}

function keyNames(suite: Suite): string[] {
  return suite.keys.map((key) => key.fingerprint).sort();
}

function verifiedSuite(suite: Suite, state: SuiteState, request: ArchiveRequest): VerifiedSuite {
  const { architecture, components } = request;
  const architectures = state.separatesAll ? [architecture, 'all'] : [architecture];
  const indexes = components.flatMap((component) =>
    architectures.map((name): PackagesIndex => {
      const plainPath = `${component}/binary-${name}/Packages`;
      const plain = state.files[plainPath];
      for (const suffix of ['.xz', '.gz']) {
        const compressed = state.files[plainPath + suffix];
        if (plain === undefined || compressed === undefined) continue;
        return { path: plainPath + suffix, ...compressed, plainBytes: plain.sizeBytes };
      }
      throw new PackageError(
        'unresolvable',
        `${suite.name} has no index ${plainPath}`,
        'Choose another component or architecture',
      );
    }),
  );
  const { dateSec, isAutomatic, hasByHash } = state;
  return { suite, dateSec, isAutomatic, hasByHash, indexes };
}

/**
 * Reads the packages of a suite, downloading its indexes when the cache lacks them.
 * @throws IntegrityError when an index does not match; PackageError when it cannot be had
 */
export async function* readSuitePackages(
  verified: VerifiedSuite,
  { cache, mirrors, offline }: Pick<ArchiveRequest, 'cache' | 'mirrors' | 'offline'>,
  context: FetchContext,
): AsyncGenerator<PackageStanza> {
  const { suite, indexes, hasByHash } = verified;
  for (const index of indexes) {
    const subject = `${index.path} of ${suite.name}`;
    const digest = sha256(index.sha256);
    const claim = { digest, sizeBytes: index.sizeBytes, subject };
    if (!(await cache.hasBlob(claim))) {
      if (offline) throw notCached(subject);
      // By its digest, so that an update of the mirror between two requests does no harm.
      const directory = index.path.replace(/[^/]+$/, '');
      const byHash = hasByHash ? suiteUrls(mirrors, suite, `${directory}by-hash/SHA256/${index.sha256}`) : [];
      await fetchBlob(cache, claim, [...byHash, ...suiteUrls(mirrors, suite, index.path)], context);
    }
    const compressed = createReadStream(cache.blobPath(digest), { signal: context.signal });
    const plain = decompress(compressed, { maxOutputBytes: index.plainBytes, signal: context.signal });
    yield* readPackageStanzas(plain, subject);
  }
}

function notCached(what: string): PackageError {
  return new PackageError(
    'offline',
    `${what} is not in the cache`,
    'Run it once without --offline, with the same target',
  );
}
