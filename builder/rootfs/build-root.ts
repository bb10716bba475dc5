/**
 * The root filesystem of a target, from unpacked packages and compiled programs to one squashfs file. It
 * holds no domain and no secret, so the finished file is kept in the cache under the digest of all that
 * went into it, and serves every image that is made of the same.
 */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import process from 'node:process';
import type { Target } from '../../images/target.ts';
import { writeSquashfs } from '../formats/squashfs/write.ts';
import { type Content, readContent, type TreeEntry } from '../formats/tree.ts';
import type { PackageCache } from '../packages/cache.ts';
import type { UnpackedPackage } from '../packages/unpack.ts';
import { assembleRoot, type Layer, ownFile, ownLink } from './assemble.ts';
import type { CompiledAppliance } from './compile-appliance.ts';
import { applianceFiles } from './appliance-files.ts';
import { findKernelModules, type KernelModules, moduleTree, selectModules } from './kernel-modules.ts';
import { patched } from './patched-files.ts';
import { staticFiles } from './static-files.ts';

export interface RootInputs {
  readonly target: Target;
  /** Debian packages whose files make up the root. */
  readonly packages: readonly UnpackedPackage[];
  /** Debian packages of which the root has single files. */
  readonly alone: readonly UnpackedPackage[];
  /** The npm package that brings Node for the target. */
  readonly node: UnpackedPackage;
  readonly appliance: CompiledAppliance;
  readonly release: Readonly<Record<string, string>>;
  readonly mtimeSec: number;
  /** The package's own root, which holds templates/. */
  readonly sourceDirectory: string;
}

export interface BuiltRoot {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** False when it came from the cache. */
  readonly made: boolean;
}

/** zstd level of the root; 15 is mksquashfs's own default, and within 1 % of the best there is. */
export const rootLevel = 15;

/** Kernel packages are filtered by module name, not by path. */
const kernelPackage = /^linux-(image|modules|base|binary)-\d/;

/** The modules of the target's kernel, for the root and for the initramfs. */
export async function kernelModulesOf(
  packages: readonly UnpackedPackage[],
  signal: AbortSignal,
): Promise<KernelModules> {
  return findKernelModules(
    packages.filter(({ name }) => kernelPackage.test(name)).flatMap(({ entries }) => entries),
    signal,
  );
}

/** Puts the tree together. */
export async function rootTree(
  inputs: RootInputs,
  kernel: KernelModules,
  signal: AbortSignal,
): Promise<TreeEntry[]> {
  const { target, packages, mtimeSec } = inputs;
  const modules = await selectModules(kernel, [...target.initramfsModules, ...target.rootModules], signal);
  const userland = packages.filter(({ name }) => !kernelPackage.test(name));
  const layers: Layer[] = [
    ...userland.map(({ name, entries }) => ({ origin: name, entries, filtered: true })),
    ...Object.entries(target.pickedFiles).map(([name, patterns]) => ({
      origin: name,
      entries: pick(inputs.alone, name, patterns),
      filtered: true,
    })),
    ...packages
      .filter(({ name }) => kernelPackage.test(name))
      .map(({ name, entries }) => ({
        origin: name,
        entries: entries.filter(({ path }) => path.startsWith('usr/share/doc/')),
        filtered: true,
      })),
    { origin: 'kernel modules', entries: moduleTree(modules, mtimeSec), filtered: false },
    { origin: 'node', entries: nodeFiles(inputs), filtered: false },
    { origin: 'busybox', entries: busyboxLinks(userland, mtimeSec), filtered: false },
    {
      origin: 'links',
      entries: Object.entries(target.links ?? {}).map(([path, to]) => ownLink(path, to, mtimeSec)),
      filtered: false,
    },
    {
      origin: 'chatmail-build',
      entries: [
        ...staticFiles(await caCertificates(userland, signal), inputs.release, mtimeSec),
        ...(await applianceFiles(inputs)),
      ],
      filtered: false,
    },
  ];
  const tree = assembleRoot(target, layers, mtimeSec);
  return Promise.all(tree.map((entry) => patched(entry, target.architecture, signal)));
}

function pick(packages: readonly UnpackedPackage[], name: string, patterns: readonly RegExp[]): TreeEntry[] {
  const entries = packages.find((one) => one.name === name)?.entries ?? [];
  for (const pattern of patterns) {
    if (!entries.some(({ path }) => pattern.test(path))) {
      throw new Error(`The Debian package ${name} has nothing like ${pattern}`);
    }
  }
  const licence = `usr/share/doc/${name}/copyright`;
  return entries.filter(({ path }) => path === licence || patterns.some((pattern) => pattern.test(path)));
}

/** Makes the squashfs, or finds it in the cache. */
export async function buildRoot(
  tree: readonly TreeEntry[],
  cache: PackageCache,
  signal: AbortSignal,
  onProgress?: (doneBytes: number, totalBytes: number) => void,
): Promise<BuiltRoot> {
  const key = await treeDigest(tree, signal);
  const known = await cache.readDocument(`roots/${key}.json`);
  const path = cache.path(`roots/${key}.squashfs`);
  if (isRecord(known) && (await isWhole(path, known.sizeBytes))) return { path, ...known, made: false };
  let result: { sizeBytes: number; sha256: string } | undefined;
  await cache.writeFile(`roots/${key}.squashfs`, async (file) => {
    result = await writeSquashfs(tree, file, { level: rootLevel, signal, ...(onProgress && { onProgress }) });
  });
  if (result === undefined) throw new Error('The root filesystem was not written');
  await cache.writeDocument(`roots/${key}.json`, result);
  return { path, ...result, made: true };
}

function isRecord(value: unknown): value is { sizeBytes: number; sha256: string } {
  return (
    typeof value === 'object' &&
    value !== null &&
    'sizeBytes' in value &&
    typeof value.sizeBytes === 'number' &&
    'sha256' in value &&
    typeof value.sha256 === 'string'
  );
}

async function isWhole(path: string, sizeBytes: number): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.size === sizeBytes;
}

/**
 * The digest of a tree: of every name, owner, mode and time, and of all content. Content that knows its
 * digest is not read.
 */
async function treeDigest(tree: readonly TreeEntry[], signal: AbortSignal): Promise<string> {
  // The compressor's version decides the bytes too.
  const hash = createHash('sha256').update(`squashfs 1 zstd ${process.versions.zstd} level ${rootLevel}\n`);
  for (const entry of tree) {
    const { content, ...facts } = entry.kind === 'file' ? entry : { ...entry, content: undefined };
    hash.update(JSON.stringify(facts));
    if (content !== undefined) hash.update(`${content.sizeBytes} ${await digestOf(content, signal)}`);
    hash.update('\n');
  }
  return hash.digest('hex');
}

async function digestOf(content: Content, signal: AbortSignal): Promise<string> {
  if (content.digest !== undefined) return content.digest;
  const hash = createHash('sha256');
  for await (const chunk of content.read(signal)) hash.update(chunk);
  return hash.digest('hex');
}

/** Node itself, and its licence. */
function nodeFiles({ node, mtimeSec }: RootInputs): TreeEntry[] {
  const find = (path: string): Content => {
    const entry = node.entries.find((one) => one.path === path);
    if (entry?.kind !== 'file') throw new Error(`${node.name} has no ${path}`);
    return entry.content;
  };
  return [
    ownFile('usr/bin/node', find('bin/node'), mtimeSec, 0o755),
    ownFile('usr/share/doc/node/copyright', find('LICENSE'), mtimeSec),
  ];
}

/** The names under which the appliance and its scripts call busybox. Programs that a package brings keep their name. */
const busyboxCommands = [
  'acpid', 'ash', 'awk', 'blockdev', 'cat', 'chmod', 'chown', 'chroot', 'cp', 'cut', 'date', 'dd', 'df',
  'dmesg', 'echo', 'env', 'expr', 'false', 'find', 'free', 'grep', 'halt', 'head', 'hostname', 'hwclock', 'id',
  'ifconfig', 'init', 'insmod', 'ip', 'kill', 'less', 'ln', 'ls', 'lsmod', 'mkdir', 'mkfifo', 'mknod', 'modprobe',
  'mount', 'mv', 'nc', 'netstat', 'nslookup', 'ping', 'poweroff', 'ps', 'pwd', 'readlink', 'reboot', 'rm', 'rmdir',
  'rmmod', 'route', 'sed', 'setsid', 'sh', 'sleep', 'sort', 'stat', 'sync', 'sysctl', 'tail', 'tar', 'test', 'top',
  'touch', 'tr', 'true', 'udhcpc', 'umount', 'uname', 'uptime', 'vi', 'wc', 'which', 'xargs',
] as const; // prettier-ignore

function busyboxLinks(packages: readonly UnpackedPackage[], mtimeSec: number): TreeEntry[] {
  const taken = new Set(
    packages
      .flatMap(({ entries }) => entries)
      .flatMap(({ path }) => /^(?:usr\/)?s?bin\/([^/]+)$/.exec(path)?.[1] ?? []),
  );
  return [
    ...busyboxCommands
      .filter((name) => !taken.has(name))
      .map((name) => ownLink(`usr/bin/${name}`, 'busybox', mtimeSec)),
    ownLink('usr/sbin/init', '../bin/busybox', mtimeSec),
    // Where the kernel looks when it wants a module itself, such as the driver of an Ethernet socket's PHY.
    ownLink('usr/sbin/modprobe', '../bin/busybox', mtimeSec),
  ];
}

/** The authorities Debian trusts, in the order of their file names, as update-ca-certificates joins them. */
async function caCertificates(packages: readonly UnpackedPackage[], signal: AbortSignal): Promise<string[]> {
  const entries = packages
    .flatMap(({ entries: all }) => all)
    .filter(({ path }) => path.startsWith('usr/share/ca-certificates/') && path.endsWith('.crt'))
    .sort((one, other) => (one.path < other.path ? -1 : 1));
  const texts: string[] = [];
  for (const entry of entries) {
    if (entry.kind !== 'file') continue;
    texts.push(new TextDecoder().decode(await readContent(entry.content, 65_536, signal)));
  }
  if (texts.length === 0) throw new Error('No package brings certificate authorities');
  return texts;
}
