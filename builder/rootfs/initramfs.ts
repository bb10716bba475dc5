/**
 * The initramfs of a slot: a cpio archive with busybox, the modules needed to reach the root, and /init
 * (templates/initramfs/init, which says what it does). Modules are packed uncompressed: zstd over the
 * whole archive does better than xz in each, and the kernel unpacks it faster.
 */
import { constants, zstdCompressSync } from 'node:zlib';
import { encodeCpio } from '../formats/cpio.ts';
import { bytesContent, type Content, textContent, type TreeEntry } from '../formats/tree.ts';
import { moduleName } from '../formats/modinfo.ts';
import {
  type KernelModules,
  moduleLists,
  type ModuleSelection,
  type SelectedModule,
  selectModules,
} from './kernel-modules.ts';

export interface InitramfsInputs {
  readonly kernel: KernelModules;
  /**
   * Names, with parameters after them where needed. Watchdogs and what drives no device (file systems,
   * character sets) are loaded as they stand here; drivers when their device is there.
   */
  readonly modules: readonly string[];
  /** busybox, statically linked. */
  readonly busybox: Content;
  /** Text of templates/initramfs/init. */
  readonly init: string;
  readonly mtimeSec: number;
}

/** What /init calls: the names busybox is reachable under. */
const commands = [
  'cat',
  'dd',
  'grep',
  'hexdump',
  'mkdir',
  'modprobe',
  'mount',
  'reboot',
  'sed',
  'sh',
  'sleep',
  'sort',
  'switch_root',
  'sync',
  'tr',
  'usleep',
  'watchdog',
] as const;

/**
 * Makes the initramfs. The same inputs give the same bytes.
 * @throws Error naming a module the kernel does not have
 */
export async function buildInitramfs(inputs: InitramfsInputs, signal?: AbortSignal): Promise<Uint8Array> {
  const selection = await selectModules(inputs.kernel, inputs.modules.map(wantedName), signal);
  const parts: Uint8Array[] = [];
  for await (const part of encodeCpio(initramfsTree(inputs, selection), signal)) parts.push(part);
  return compressInitramfs(Buffer.concat(parts));
}

/** The files of the initramfs, before they are packed. */
export function initramfsTree(inputs: InitramfsInputs, selection: ModuleSelection): TreeEntry[] {
  const own = { uid: 0, gid: 0, mtimeSec: inputs.mtimeSec };
  const directory = (path: string): TreeEntry => ({ ...own, path, kind: 'directory', mode: 0o755 });
  const file = (path: string, mode: number, content: Content): TreeEntry => ({
    ...own,
    path,
    kind: 'file',
    mode,
    content,
  });
  const device = (path: string, mode: number, major: number, minor: number): TreeEntry => ({
    ...own,
    path,
    kind: 'character',
    mode,
    major,
    minor,
  });
  const modules = `lib/modules/${inputs.kernel.release}`;
  const fileName = ({ name }: SelectedModule) => `${name}.ko`;
  const tree: TreeEntry[] = [
    directory('bin'),
    file('bin/busybox', 0o755, inputs.busybox),
    ...commands.map((name): TreeEntry => ({
      ...own,
      path: `bin/${name}`,
      kind: 'symlink',
      mode: 0o777,
      target: 'busybox',
    })),
    directory('dev'),
    // The kernel opens these before /init has mounted anything.
    device('dev/console', 0o600, 5, 1),
    device('dev/kmsg', 0o600, 1, 11),
    device('dev/null', 0o666, 1, 3),
    directory('etc'),
    file('etc/modprobe.conf', 0o644, textContent(parameterLines(inputs.modules))),
    file('etc/modules', 0o644, textContent(loadedAlways(inputs.modules, selection).join('\n') + '\n')),
    file('init', 0o755, textContent(inputs.init)),
    directory('lib'),
    directory('lib/modules'),
    directory(modules),
    ...Object.entries(moduleLists(selection, fileName)).map(([name, text]) =>
      file(`${modules}/${name}`, 0o644, textContent(text)),
    ),
    ...selection.modules.map((module) =>
      file(`${modules}/${fileName(module)}`, 0o644, bytesContent(module.bytes)),
    ),
  ];
  return tree.sort((one, other) => (one.path < other.path ? -1 : 1));
}

/** `options i6300esb heartbeat=60`, as modprobe.d(5) has it. */
function parameterLines(modules: readonly string[]): string {
  return modules
    .map((line) => line.trim().split(/\s+/))
    .filter((words) => words.length > 1)
    .map(([name = '', ...parameters]) => `options ${moduleName(name)} ${parameters.join(' ')}\n`)
    .join('');
}

/**
 * Of the wanted modules those to load whether or not a device asks for them: watchdogs, which are to run
 * before any driver can hang, and modules that no device asks for.
 */
function loadedAlways(wanted: readonly string[], { modules }: ModuleSelection): string[] {
  const names = wanted.map(wantedName);
  const chosen = names.flatMap((name) => modules.find((module) => module.name === name) ?? []);
  const isWatchdog = ({ path }: SelectedModule) => path.startsWith('kernel/drivers/watchdog/');
  // A device's alias starts with its bus: pci:, virtio:, of:, acpi*:; `devname:` is for static nodes.
  const isDriver = ({ aliases }: SelectedModule) =>
    aliases.some((alias) => /^(?!devname:)[a-z0-9_*]+:/.test(alias));
  return [
    ...chosen.filter(isWatchdog),
    ...chosen.filter((module) => !isWatchdog(module) && !isDriver(module)),
  ].map(({ name }) => name);
}

function wantedName(line: string): string {
  return moduleName(line.trim().split(/\s+/, 1)[0] ?? '');
}

/**
 * zstd, level 19 with a window the kernel accepts (lib/decompress_unzstd.c takes up to 128 MiB, Linux
 * 5.9 and later). A frame with its size and no checksum, so that only the content decides the bytes.
 */
export function compressInitramfs(archive: Uint8Array): Uint8Array {
  return zstdCompressSync(archive, {
    params: {
      [constants.ZSTD_c_compressionLevel]: 19,
      [constants.ZSTD_c_windowLog]: 23,
    },
    pledgedSrcSize: archive.length,
  });
}
