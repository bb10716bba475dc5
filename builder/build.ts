/** The recipe of an image, top to bottom. Every step is a function; this file hands on what they return. */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import * as v from 'valibot';
import { writeFileAtomic } from '../appliance/base/atomic-file.ts';
import type { Clock } from '../appliance/base/clock.ts';
import { plainDomain } from '../appliance/contract/domain.ts';
import { formatBytes, type Progress } from './cli/progress.ts';
import { type BuildConfig, imageBaseName, type SeedAdditions, seedText } from './config.ts';
import { openFileSource, sliceContent } from './formats/random-access.ts';
import { buildBoot } from './image/build-boot.ts';
import { planDisk } from './image/plan-disk.ts';
import { writeImage } from './image/write-image.ts';
import { explainingWrites, prepareOutDirectory } from './out-directory.ts';
import { readAptSources } from './packages/apt-sources.ts';
import { PackageCache } from './packages/cache.ts';
import { encodeLock, type Lock } from './packages/lockfile.ts';
import { chooseMirrors } from './packages/mirror.ts';
import { type PackagesProgress, preparePackages, type PreparedPackages } from './packages/prepare.ts';
import { unpackLocked } from './packages/unpack.ts';
import { type BuiltRoot, buildRoot, kernelModulesOf, rootTree } from './rootfs/build-root.ts';
import { compileAppliance } from './rootfs/compile-appliance.ts';
import { imageSbom } from './rootfs/image-sbom.ts';

export interface BuildContext {
  readonly progress: Progress;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cacheDirectory: string;
  /** The package's own root: appliance/, templates/, node_modules/. */
  readonly sourceDirectory: string;
  /**
   * Called once everything else is made, so that a build that fails leaves no keys behind.
   * Default: nothing is added.
   */
  readonly seedAdditions?: () => Promise<SeedAdditions>;
}

export interface BuildResult {
  readonly image: string;
  /** The block map beside it. */
  readonly mapFile: string;
  readonly lockFile: string;
  readonly sbomFile: string;
  readonly root: BuiltRoot;
  readonly downloadedBytes: number;
}

/**
 * Builds an image and writes it, its lock and its bill of materials.
 * @throws ConfigError, IntegrityError, PackageError, or the system's error; nothing is left half-written
 */
export async function buildImage(config: BuildConfig, context: BuildContext): Promise<BuildResult> {
  const { progress, signal, sourceDirectory } = context;
  const { target } = config;
  // Before any long work: a directory that cannot be written to is better known now.
  await prepareOutDirectory(config.outDirectory);
  const base = join(config.outDirectory, imageBaseName(config));

  const cache = await PackageCache.open(context.cacheDirectory, context.clock.wallMs());
  const prepared = await progress.step(
    'Debian packages',
    (step) => fetchPackages(config, cache, context, (state) => step.update(describe(state))),
    ({ packages, alone, downloadedBytes }) =>
      `${packages.length + alone.length} packages, ${downloadedBytes === 0 ? 'nothing to download' : `${formatBytes(downloadedBytes)} downloaded`}`,
  );
  const { lock } = prepared;
  const mtimeSec = newestSuiteSec(lock);
  const version = await ownVersion(sourceDirectory);
  const date = new Date(mtimeSec * 1000).toISOString();

  await using trees = await progress.step('Unpack', (step) =>
    unpackLocked(cache, lock, signal, (done, total) => step.update(`${done} of ${total}`)),
  );
  const { packages, alone, npm } = trees;
  const [node] = npm;
  if (node === undefined) throw new Error('The lock names no Node');
  const appliance = await progress.step('Compile the appliance', () => compileAppliance(sourceDirectory));
  const kernel = await kernelModulesOf(packages, signal);
  const root = await progress.step(
    'Root filesystem',
    async (step) => {
      const release = { version, target: target.name, date };
      const inputs = { target, packages, alone, node, appliance, release, mtimeSec, sourceDirectory };
      const tree = await rootTree(inputs, kernel, signal);
      return buildRoot(tree, cache, signal, (done, total) => {
        step.update(`${formatBytes(done)} of ${formatBytes(total)}`);
      });
    },
    ({ sizeBytes, made }) => `${formatBytes(sizeBytes)}${made ? '' : ', unchanged'}`,
  );

  const subject = {
    name: 'chatmail-build',
    version,
    target: target.name,
    rootSha256: root.sha256,
    timestamp: date,
  };
  const sbom = await imageSbom(subject, lock, appliance.npmPackages);

  const image = await progress.step(
    'Disk image',
    async () => {
      const disk = planDisk(`${target.name} ${plainDomain(config.appliance.domain)}`);
      const additions = await context.seedAdditions?.();
      const seed = seedText(config, additions);
      const inputs = {
        target,
        packages,
        alone,
        kernel,
        disk,
        seed,
        version,
        mtimeSec,
        sourceDirectory,
        cache,
      };
      const boot = await buildBoot(inputs, signal);
      await using squashfs = await openFileSource(root.path);
      const parts = {
        mbrCode: boot.mbrCode,
        boot: boot.plan,
        root: sliceContent(squashfs, 0, squashfs.sizeBytes),
        holdsSecrets: (additions?.secrets ?? config.document.secrets) !== undefined,
      };
      // Awaited here: the squashfs is closed when this scope is left.
      return await explainingWrites(config.outDirectory, () =>
        writeImage(`${base}.img`, disk, parts, signal, config.compression),
      );
    },
    ({ path, compressedBytes }) =>
      `${basename(path)}${compressedBytes === undefined ? '' : `, ${formatBytes(compressedBytes)}`}`,
  );

  const [lockFile, sbomFile] = [`${base}.lock.json`, `${base}.sbom.json`];
  await explainingWrites(config.outDirectory, async () => {
    await writeFileAtomic(lockFile, encodeLock(lock), { mode: 0o644 });
    await writeFileAtomic(sbomFile, sbom, { mode: 0o644 });
  });
  return {
    image: image.path,
    mapFile: image.mapPath,
    lockFile,
    sbomFile,
    root,
    downloadedBytes: prepared.downloadedBytes,
  };
}

async function fetchPackages(
  config: BuildConfig,
  cache: PackageCache,
  { signal, clock, env }: BuildContext,
  onProgress: (progress: PackagesProgress) => void,
): Promise<PreparedPackages> {
  const { target, lock, offline, refresh } = config;
  return preparePackages(
    {
      architecture: target.architecture,
      suites: target.suites,
      components: target.components,
      wanted: target.rootPackages,
      // A package may have files for both.
      alone: [...new Set([...Object.keys(target.pickedFiles), ...target.bootPackages])],
      excludes: target.excludes,
      npm: [target.node],
      mirrors: chooseMirrors(config.mirror, await readAptSources()),
      cache,
      lock,
      offline,
      refresh,
    },
    { signal, clock, env, onProgress },
  );
}

function describe(state: PackagesProgress): string {
  switch (state.phase) {
    case 'indexes':
      return `indexes, ${formatBytes(state.doneBytes)}`;
    case 'resolve':
      return 'resolving';
    case 'download':
      return `${state.doneFiles} of ${state.totalFiles}, ${formatBytes(state.doneBytes)} of ${formatBytes(state.totalBytes)}`;
  }
}

/** The state of the archive that the image was made of is the time of all that is ours: no clock is asked. */
function newestSuiteSec(lock: Lock): number {
  return Math.max(...lock.suites.map(({ date }) => Date.parse(date) / 1000));
}

async function ownVersion(sourceDirectory: string): Promise<string> {
  const text = await readFile(join(sourceDirectory, 'package.json'), 'utf8');
  return v.parse(v.object({ version: v.string() }), JSON.parse(text)).version;
}
