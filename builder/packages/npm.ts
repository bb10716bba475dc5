/**
 * Packages from the npm registry, by their pinned sha512. The operator's own npm fetches them, since it
 * knows the registry, the proxy and the credentials that are configured on this machine; the digest is
 * checked here all the same. Nothing runs when the cache has them.
 */
import { spawn } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { access, mkdtemp, readdir, rm } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { messageOf } from '../../appliance/base/errors.ts';
import type { BlobClaim, Digest } from './blob.ts';
import type { PackageCache } from './cache.ts';
import { PackageError } from './errors.ts';
import type { LockedNpmPackage } from './lockfile.ts';

export interface NpmContext {
  readonly signal: AbortSignal;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** How to start npm; found by itself when not given. */
  readonly npmCommand?: NpmCommand | undefined;
  readonly onBytes?: (count: number) => void;
}

/** A program and the arguments before npm's own. */
export type NpmCommand = readonly [string, ...string[]];

/** Node's tarball has 58 MB. */
const maxTarballBytes = 512 * 1024 * 1024;
const maxErrorChars = 4000;

export function npmDigest({ name, integrity }: LockedNpmPackage): Digest {
  const encoded = /^sha512-([A-Za-z0-9+/]{86}==)$/.exec(integrity)?.[1];
  if (encoded === undefined) throw new TypeError(`${name} has no sha512 integrity: ${integrity}`);
  return { algorithm: 'sha512', hex: Buffer.from(encoded, 'base64').toString('hex') };
}

/**
 * Stores the tarball of an npm package unless the cache has it. Returns the number of bytes downloaded.
 * @throws IntegrityError when the tarball is another one; PackageError when npm is missing or fails
 */
export async function fetchNpmPackage(
  cache: PackageCache,
  locked: LockedNpmPackage,
  context: NpmContext,
): Promise<number> {
  const claim: BlobClaim = {
    digest: npmDigest(locked),
    subject: `npm package ${locked.name}@${locked.version}`,
  };
  if (await cache.hasBlob(claim)) return 0;
  const directory = await mkdtemp(join(cache.path('temporary'), 'npm-'));
  try {
    await pack(locked, directory, context);
    const [file] = (await readdir(directory)).filter((name) => name.endsWith('.tgz'));
    if (file === undefined) throw npmFailed(locked, 'it wrote no tarball');
    return await cache.storeBlob(claim, async (sink) => {
      for await (const chunk of createReadStream(join(directory, file), { signal: context.signal })) {
        const bytes = chunk as Uint8Array;
        if (sink.writtenBytes + bytes.length > maxTarballBytes) {
          throw npmFailed(locked, `its tarball exceeds ${maxTarballBytes} bytes`);
        }
        await sink.write(bytes);
        context.onBytes?.(bytes.length);
      }
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function pack(locked: LockedNpmPackage, directory: string, context: NpmContext): Promise<void> {
  const [program, ...first] = context.npmCommand ?? (await findNpm(context.env));
  const args = [
    ...first,
    'pack',
    `${locked.name}@${locked.version}`,
    '--pack-destination',
    directory,
    '--ignore-scripts',
    '--loglevel=error',
  ];
  // From a directory of its own, so that no project's .npmrc has a say; the user's has.
  const child = spawn(program, args, {
    cwd: directory,
    env: context.env,
    signal: context.signal,
    stdio: ['ignore', 'ignore', 'pipe'],
    windowsHide: true,
  });
  let complaint = '';
  child.stderr.setEncoding('utf8');
  child.stderr.on('data', (text: string) => {
    complaint = (complaint + text).slice(-maxErrorChars);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (error) => {
      reject(context.signal.aborted ? error : npmFailed(locked, messageOf(error), error));
    });
    child.once('close', resolve);
  });
  context.signal.throwIfAborted();
  if (code !== 0) throw npmFailed(locked, complaint.trim() || `npm ended with code ${code}`);
}

/**
 * Finds npm's program for the running node: what started us (npm_execpath), beside node, or on the PATH.
 * npm-cli.js run by node where there is one: Windows starts no `npm.cmd` without a shell.
 */
export async function findNpm(env: Readonly<Record<string, string | undefined>>): Promise<NpmCommand> {
  const fromNpm = env['npm_execpath'];
  const bins = [dirname(process.execPath), ...(env['PATH'] ?? env['Path'] ?? '').split(delimiter)];
  const candidates = [
    ...(fromNpm !== undefined && /npm-cli\.[cm]?js$/.test(fromNpm) ? [fromNpm] : []),
    ...bins
      .filter((bin) => bin !== '')
      .flatMap((bin) => [
        join(bin, 'node_modules', 'npm', 'bin', 'npm-cli.js'),
        join(bin, '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js'),
        // Debian's package
        join(bin, '..', 'share', 'nodejs', 'npm', 'bin', 'npm-cli.js'),
      ]),
  ];
  for (const path of candidates) if (await exists(path)) return [process.execPath, path];
  if (process.platform !== 'win32') {
    // A version manager's shim, say.
    for (const bin of bins) if (bin !== '' && (await exists(join(bin, 'npm')))) return [join(bin, 'npm')];
  }
  throw new PackageError(
    'npm',
    'npm was not found, and it is needed to fetch Node.js for the image',
    'Install Node.js together with npm, and run this through npx or npm',
  );
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

function npmFailed(locked: LockedNpmPackage, why: string, cause?: unknown): PackageError {
  return new PackageError(
    'npm',
    `npm could not fetch ${locked.name}@${locked.version}: ${why}`,
    `Try "npm view ${locked.name}@${locked.version}" to see whether npm reaches its registry, or build from what is cached with --offline`,
    { cause },
  );
}
