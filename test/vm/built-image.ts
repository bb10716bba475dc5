/**
 * A real image for tests, built from the real archive by the command line's own code. The packages come
 * from the cache of the person who runs the tests; only the first build of a day downloads.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { systemClock } from '../../appliance/base/clock.ts';
import { type BuildResult, buildImage } from '../../builder/build.ts';
import type { Progress } from '../../builder/cli/progress.ts';
import { type BuildFlags, readBuildConfig } from '../../builder/config.ts';
import { makeSeedSecrets } from '../../builder/seed-secrets.ts';
import { defaultCacheDirectory } from '../../builder/packages/cache-directory.ts';
import type { BuiltRoot } from '../../builder/rootfs/build-root.ts';

export const sourceDirectory = resolve(import.meta.dirname, '../..');

export const quiet: Progress = {
  step: (_, work) => work({ update: () => {} }),
  note: () => {},
  event: () => {},
};

/** The cache that the command line would use. */
export function sharedCacheDirectory(): string {
  const { env, platform } = process;
  return env.CHATMAIL_BUILD_CACHE ?? defaultCacheDirectory({ platform, env, homeDirectory: homedir() });
}

/** Builds into `outDirectory`. */
export async function build(flags: BuildFlags, outDirectory: string): Promise<BuildResult> {
  const config = await readBuildConfig({ ...flags, out: outDirectory }, sourceDirectory);
  return buildImage(config, {
    progress: quiet,
    signal: new AbortController().signal,
    clock: systemClock,
    env: process.env,
    cacheDirectory: sharedCacheDirectory(),
    sourceDirectory,
    // As the command line does, with keys that go with the image.
    seedAdditions: async () => {
      const { appliance, document } = config;
      const keyFolder = join(outDirectory, 'keys');
      const made = await makeSeedSecrets({
        appliance,
        document,
        keyFolder,
        ed25519: false,
        dnsOnDevice: null,
      });
      return made.additions;
    },
  });
}

export interface BuiltImage extends BuildResult, AsyncDisposable {}

/** An image in a directory of its own, which goes with it. */
export async function builtImage(flags: BuildFlags): Promise<BuiltImage> {
  const directory = await mkdtemp(join(tmpdir(), 'image-'));
  const remove = () => rm(directory, { recursive: true, force: true });
  try {
    return { ...(await build(flags, directory)), [Symbol.asyncDispose]: remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The root filesystem every image of this checkout has; it stays in the cache. */
export async function builtRoot(): Promise<BuiltRoot> {
  await using image = await builtImage({ domain: 'chat.example.org' });
  return image.root;
}
