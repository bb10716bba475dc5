/** A cache in a temporary directory and the package side set up to use it against a loopback archive. */
import { createHash } from 'node:crypto';
import { mkdtempDisposable, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import type { Clock } from '../../appliance/base/clock.ts';
import { PackageCache } from '../../builder/packages/cache.ts';
import {
  type PackagesContext,
  type PackagesRequest,
  preparePackages,
} from '../../builder/packages/prepare.ts';
import type { Suite } from '../../builder/packages/suites.ts';
import { archiveDateMs } from './debian-archive.ts';

export interface SettableClock extends Clock {
  nowMs: number;
  /** Every sleep that was asked for; none is slept. */
  readonly sleepsMs: number[];
}

export function fixedClock(nowMs = archiveDateMs + 3_600_000): SettableClock {
  const clock: SettableClock = {
    nowMs,
    sleepsMs: [],
    monotonicMs: () => clock.nowMs,
    wallMs: () => clock.nowMs,
    sleep: async (ms, signal) => {
      signal?.throwIfAborted();
      clock.sleepsMs.push(ms);
    },
  };
  return clock;
}

export interface Workshop extends AsyncDisposable {
  readonly directory: string;
  readonly cache: PackageCache;
  readonly clock: SettableClock;
  prepare(
    serverUrl: string,
    request?: Partial<PackagesRequest>,
    context?: Partial<PackagesContext>,
  ): ReturnType<typeof preparePackages>;
  /** The files of the cache, sorted; every blob's digest is checked on the way. */
  list(): Promise<readonly string[]>;
}

export async function openWorkshop(suites: readonly Suite[]): Promise<Workshop> {
  const temporary = await mkdtempDisposable(join(tmpdir(), 'chatmail-build-test-'));
  const directory = join(temporary.path, 'cache');
  const clock = fixedClock();
  const cache = await PackageCache.open(directory, Date.now());
  return {
    directory,
    cache,
    clock,
    prepare: (serverUrl, request, context) =>
      preparePackages(
        {
          architecture: 'amd64',
          suites: suites.map(({ name }) => name),
          components: ['main'],
          wanted: ['hello'],
          alone: [],
          excludes: {},
          npm: [],
          mirrors: {
            debian: [`${serverUrl}/debian`],
            'debian-security': [`${serverUrl}/debian-security`],
          },
          cache,
          ...request,
        },
        { signal: AbortSignal.timeout(15_000), clock, env: {}, knownSuites: suites, ...context },
      ),
    list: () => listCache(directory),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

async function listCache(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths: string[] = [];
  for (const entry of entries) {
    if (entry.isDirectory()) continue;
    const path = join(entry.parentPath, entry.name);
    const shown = relative(directory, path).split(sep).join('/');
    const [algorithm = ''] = shown.split('/');
    if (algorithm === 'sha256' || algorithm === 'sha512') {
      const found = createHash(algorithm)
        .update(await readFile(path))
        .digest('hex');
      if (found !== entry.name) throw new Error(`The blob ${shown} holds ${found}`);
    }
    paths.push(shown);
  }
  return paths.sort();
}
