/**
 * The lockfile beside an image: what it was made of, exact to the byte, and enough to get it again. It
 * says nothing about where the packages came from, since mirrors of the operator's network are nobody's
 * business, and the digests make them as good as any other.
 */
import * as v from 'valibot';
import { ConfigError } from '../../appliance/base/errors.ts';
import type { Candidate } from './universe.ts';
import { compareText } from './universe.ts';
import { isPlainPath } from './package-records.ts';

/** A hundred packages make 50 KB. */
export const maxLockfileBytes = 4 * 1024 * 1024;

const text = v.pipe(v.string(), v.maxLength(256), v.regex(/^[!-~]+$/, 'is no plain word'));
const count = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 40));

const packageSchema = v.strictObject({
  name: text,
  version: text,
  architecture: text,
  /** The source package, for the bill of materials. */
  source: text,
  sourceVersion: text,
  suite: text,
  /** Below the archive's root. */
  filename: v.pipe(v.string(), v.check(isPlainPath, 'is no path below the archive')),
  sizeBytes: count,
  /** What it takes when unpacked, as the index says. */
  installedBytes: count,
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, 'is no sha256')),
});

const npmSchema = v.strictObject({
  name: v.pipe(v.string(), v.regex(/^(?:@[a-z0-9._-]+\/)?[a-z0-9][a-z0-9._-]*$/, 'is no npm package')),
  version: v.pipe(v.string(), v.regex(/^\d+\.\d+\.\d+(?:-[A-Za-z0-9.-]+)?$/, 'is no version')),
  integrity: v.pipe(v.string(), v.regex(/^sha512-[A-Za-z0-9+/]{86}==$/, 'is no sha512 integrity')),
});

const suiteSchema = v.strictObject({
  name: text,
  archive: v.picklist(['debian', 'debian-security']),
  /** When the archive was in this state, ISO 8601: what snapshot.debian.org is asked for. */
  date: v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'is no date')),
});

const lockSchema = v.strictObject({
  format: v.literal(1),
  architecture: text,
  suites: v.array(suiteSchema),
  packages: v.array(packageSchema),
  /** Packages of which single files are used, without their dependencies. */
  alone: v.array(packageSchema),
  npm: v.array(npmSchema),
});

/** A Debian package, exact. Its files' copyright is in `usr/share/doc/<name>/copyright`. */
export type LockedPackage = Readonly<v.InferOutput<typeof packageSchema>>;
/** An npm package, exact. `integrity` is as in npm's own lockfiles. */
export type LockedNpmPackage = Readonly<v.InferOutput<typeof npmSchema>>;
export type LockedSuite = Readonly<v.InferOutput<typeof suiteSchema>>;

export interface Lock {
  readonly format: 1;
  readonly architecture: string;
  readonly suites: readonly LockedSuite[];
  readonly packages: readonly LockedPackage[];
  readonly alone: readonly LockedPackage[];
  readonly npm: readonly LockedNpmPackage[];
}

export function lockPackage({ record, suite }: Candidate): LockedPackage {
  const { name, version, architecture, source, sourceVersion, filename } = record;
  const { sizeBytes, installedBytes, sha256 } = record;
  return {
    name,
    version,
    architecture,
    source,
    sourceVersion,
    suite,
    filename,
    sizeBytes,
    installedBytes,
    sha256,
  };
}

/** The lockfile's text: the same for the same packages, whatever order they come in. */
export function encodeLock(lock: Lock): string {
  const sorted: Lock = {
    format: lock.format,
    architecture: lock.architecture,
    suites: byName(lock.suites).map(({ name, archive, date }) => ({ name, archive, date })),
    packages: byName(lock.packages).map(inOrder),
    alone: byName(lock.alone).map(inOrder),
    npm: byName(lock.npm).map(({ name, version, integrity }) => ({ name, version, integrity })),
  };
  return `${JSON.stringify(sorted, null, 2)}\n`;
}

function byName<T extends { readonly name: string }>(entries: readonly T[]): T[] {
  return entries.toSorted((left, right) => compareText(left.name, right.name));
}

/** The keys in the schema's order. */
function inOrder(entry: LockedPackage): LockedPackage {
  return v.parse(packageSchema, entry);
}

/**
 * Reads a lockfile.
 * @param path names the file in errors
 * @throws ConfigError with the place of what is wrong
 */
export function decodeLock(source: string, path: string): Lock {
  const refuse = (place: string, what: string, cause?: unknown): ConfigError =>
    new ConfigError(
      place,
      `The lockfile ${path} cannot be used: ${place} ${what}`,
      'Give the file that was written beside an image, unchanged',
      { cause },
    );
  if (source.length > maxLockfileBytes) throw refuse('(file)', `is larger than ${maxLockfileBytes} bytes`);
  let document: unknown;
  try {
    document = JSON.parse(source);
  } catch (error) {
    throw refuse('(file)', 'is not JSON', error);
  }
  const result = v.safeParse(lockSchema, document);
  if (!result.success) {
    const [issue] = result.issues;
    throw refuse(v.getDotPath(issue) ?? '(document)', issue.message);
  }
  return result.output;
}

/** Seconds since 1970 of a date of the lockfile. */
export function parseDate(date: string): number {
  return Date.parse(date) / 1000;
}
