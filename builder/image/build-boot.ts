/** The BOOT partition of a build: kernel and loaders out of Debian's packages, our initramfs, the seed. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { kernelCommandLine, type SlotEntry } from '../../appliance/contract/boot-layout.ts';
import type { DeviceTrees, Target } from '../../images/target.ts';
import { decodeFdt, maxFdtBytes } from '../formats/fdt.ts';
import type { FatPlan } from '../formats/fat/plan.ts';
import { extractSyslinux, type SyslinuxPieces } from '../formats/syslinux.ts';
import { bytesContent, type Content, readContent } from '../formats/tree.ts';
import type { PackageCache } from '../packages/cache.ts';
import type { UnpackedPackage } from '../packages/unpack.ts';
import { buildInitramfs } from '../rootfs/initramfs.ts';
import type { KernelModules } from '../rootfs/kernel-modules.ts';
import {
  type BootFile,
  bootFiles,
  efiLoaders,
  type PackagedBootFile,
  readBootTexts,
  syslinuxSources,
} from './boot-files.ts';
import { planBootPartition } from './boot-partition.ts';
import { deviceTreeOverlay } from './device-tree-overlay.ts';
import type { DiskPlan } from './plan-disk.ts';
import { raspberryPiFiles, raspberryPiFirmware, type RaspberryPiInputs } from './raspberry-pi-files.ts';

export interface BootBuildInputs {
  readonly target: Target;
  /** Packages of the root: they hold the kernel and busybox. */
  readonly packages: readonly UnpackedPackage[];
  /** Packages of single files: loaders. */
  readonly alone: readonly UnpackedPackage[];
  readonly kernel: KernelModules;
  readonly disk: DiskPlan;
  readonly seed: string;
  /** Of chatmail-build: the newer of two slots is tried first. */
  readonly version: string;
  readonly mtimeSec: number;
  readonly sourceDirectory: string;
  readonly cache: PackageCache;
}

export interface BuiltBoot {
  readonly plan: FatPlan;
  /** Code for sector 0, where a BIOS may start the disk. */
  readonly mbrCode: Uint8Array | undefined;
}

/** Loaders and their parts are small; the largest is shim, with 1 MB. */
const maxLoaderBytes = 16 * 1024 * 1024;

/** Plans BOOT with slot a in it and slot b empty. */
export async function buildBoot(inputs: BootBuildInputs, signal: AbortSignal): Promise<BuiltBoot> {
  const { target, alone, disk, mtimeSec } = inputs;
  const fromPackage = (source: { readonly package: string; readonly source: string }): Content =>
    findFile(alone, source.package, source.source);
  const { efi, bios, raspberryPi } = target.loaders;
  const syslinux: SyslinuxPieces | undefined = bios
    ? extractSyslinux(await readContent(fromPackage(syslinuxSources.installer), maxLoaderBytes, signal))
    : undefined;
  const entry: SlotEntry = {
    slot: 'a',
    title: `chatmail ${inputs.version}`,
    version: slotVersion(inputs),
    commandLine: kernelCommandLine({
      slot: 'a',
      arguments: target.kernelArguments,
      diskGuid: disk.diskGuid,
    }),
  };
  const texts = await readBootTexts(inputs.sourceDirectory, signal);
  const entries = bootFiles({
    entry,
    kernel: findKernel(inputs),
    initramfs: bytesContent(await cachedInitramfs(inputs, signal)),
    efi: efi === undefined ? [] : packagedFiles(alone, efiLoaders[efi]),
    syslinux:
      syslinux === undefined
        ? undefined
        : { pieces: syslinux, ldlinuxC32: fromPackage(syslinuxSources.ldlinuxC32) },
    seed: inputs.seed,
    ...(raspberryPi === undefined
      ? { texts }
      : {
          texts: { ...texts, readme: texts.readme + texts.raspberryPiReadme },
          firmware: raspberryPiFiles({
            entry,
            config: texts.raspberryPiConfig,
            firmware: packagedFiles(alone, raspberryPiFirmware),
            ...(await deviceTrees(inputs, raspberryPi, signal)),
          }),
        }),
    mtimeSec,
  });
  return {
    plan: planBootPartition(entries, disk, syslinux),
    mbrCode: bios ? await readContent(fromPackage(syslinuxSources.mbr), 440, signal) : undefined,
  };
}

/**
 * The later of two images has the higher version, or systemd-boot would not prefer it on trial; newer
 * packages alone make a later image too.
 */
function slotVersion({ version, mtimeSec }: BootBuildInputs): string {
  const date = new Date(mtimeSec * 1000).toISOString().replace(/[-:]|\.\d+Z/g, '');
  return `${version}.${date.replace('T', '.')}`;
}

function findFile(packages: readonly UnpackedPackage[], name: string, path: string): Content {
  const entry = packages.find((one) => one.name === name)?.entries.find((one) => one.path === path);
  if (entry?.kind !== 'file') throw new Error(`The Debian package ${name} has no /${path}`);
  return entry.content;
}

function packagedFiles(
  packages: readonly UnpackedPackage[],
  files: readonly PackagedBootFile[],
): readonly BootFile[] {
  return files.map(({ package: name, source, path }) => ({
    path,
    content: findFile(packages, name, source),
  }));
}

/** Debian puts it into /boot, newer packages below the modules. */
function findKernel({ packages, kernel }: BootBuildInputs): Content {
  const paths = [`boot/vmlinuz-${kernel.release}`, `${kernel.directory}/vmlinuz`];
  return findKernelFile(packages, paths) ?? missing(`the kernel ${kernel.release}`);
}

/** Beside the modules, as the kernel package has them since Linux 6.18; before, in a directory of their own. */
function findDeviceTree({ packages, kernel }: BootBuildInputs, name: string): Content {
  const paths = [
    `${kernel.directory}/dtb/broadcom/${name}`,
    `usr/lib/linux-image-${kernel.release}/broadcom/${name}`,
  ];
  return findKernelFile(packages, paths) ?? missing(`the device tree ${name} for kernel ${kernel.release}`);
}

function findKernelFile(packages: readonly UnpackedPackage[], paths: readonly string[]): Content | undefined {
  for (const { entries } of packages) {
    const entry = entries.find(({ path }) => paths.includes(path));
    if (entry?.kind === 'file') return entry.content;
  }
  return undefined;
}

function missing(what: string): never {
  throw new Error(`None of the packages brings ${what}`);
}

async function deviceTrees(
  inputs: BootBuildInputs,
  wanted: DeviceTrees,
  signal: AbortSignal,
): Promise<Pick<RaspberryPiInputs, 'deviceTrees' | 'overlays'>> {
  const decode = async (name: string) =>
    decodeFdt(await readContent(findDeviceTree(inputs, name), maxFdtBytes, signal));
  const overlays: Record<string, Uint8Array> = {};
  for (const [name, { from, to }] of Object.entries(wanted.overlays)) {
    overlays[name] = deviceTreeOverlay(await decode(from), await decode(to));
  }
  const files = Object.entries(wanted.files).map(
    ([name, source]) => [name, findDeviceTree(inputs, source)] as const,
  );
  return { deviceTrees: Object.fromEntries(files), overlays };
}

/** The initramfs depends on kernel, modules, busybox and /init alone; packing it takes longer than looking. */
async function cachedInitramfs(inputs: BootBuildInputs, signal: AbortSignal): Promise<Uint8Array> {
  const { target, packages, kernel, mtimeSec, cache } = inputs;
  const init = await readFile(join(inputs.sourceDirectory, 'templates/initramfs/init'), 'utf8');
  const busybox = findFile(packages, 'busybox-static', 'usr/bin/busybox');
  const versions = packages
    .filter(({ name }) => name === 'busybox-static' || name.startsWith('linux-'))
    .map(({ name, version }) => `${name}=${version}`);
  const key = createHash('sha256')
    .update(JSON.stringify({ format: 1, versions, modules: target.initramfsModules, init, mtimeSec }))
    .digest('hex');
  const path = `initramfs/${key}`;
  const known = await readFile(cache.path(path)).catch(() => undefined);
  if (known !== undefined) return known;
  const bytes = await buildInitramfs(
    { kernel, modules: target.initramfsModules, busybox, init, mtimeSec },
    signal,
  );
  await cache.writeFile(path, (file) => file.writeFile(bytes));
  return bytes;
}
