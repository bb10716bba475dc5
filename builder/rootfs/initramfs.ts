/**
 * The initramfs of a slot: a cpio archive with busybox, the modules needed to reach the root, and /init
 * (templates/initramfs/init, which says what it does). Modules are packed uncompressed: zstd over the
 * whole archive does better than xz in each, and the kernel unpacks it faster.
 */
import { constants, zstdCompressSync } from 'node:zlib';
import { encodeCpio } from '../formats/cpio.ts';
import { bytesContent, type Content, textContent, type TreeEntry } from '../formats/tree.ts';
import { type KernelModules, type ModuleSelection, selectModules } from './kernel-modules.ts';

export interface InitramfsInputs {
  readonly kernel: KernelModules;
  /**
   * Modules as in modules-load.d(5), one a line, with parameters after the name; loaded in this order,
   * each after what it needs. The watchdog goes first.
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
  'insmod',
  'mkdir',
  'mount',
  'reboot',
  'sed',
  'sh',
  'sleep',
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
  const names = inputs.modules.map((line) => line.trim().split(/\s+/, 1)[0] ?? '');
  const selection = await selectModules(inputs.kernel, names, signal);
  const parts: Uint8Array[] = [];
  for await (const part of encodeCpio(initramfsTree(inputs, selection), signal)) parts.push(part);
  return compressInitramfs(Buffer.concat(parts));
}

/** The files of the initramfs, before they are packed. */
export function initramfsTree(inputs: InitramfsInputs, selection: ModuleSelection): TreeEntry[] {
  const parameters = new Map(
    inputs.modules.map((line) => {
      const [name = '', ...rest] = line.trim().split(/\s+/);
      return [name.replaceAll('-', '_'), rest.join(' ')];
    }),
  );
  const own = { uid: 0, gid: 0, mtimeSec: inputs.mtimeSec };
  const directory = (path: string): TreeEntry => ({ ...own, path, kind: 'directory', mode: 0o755 });
  const file = (path: string, mode: number, content: Content): TreeEntry => ({
    ...own,
    path,
    kind: 'file',
    mode,
    content,
  });
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
    { ...own, path: 'dev/console', kind: 'character', mode: 0o600, major: 5, minor: 1 },
    { ...own, path: 'dev/kmsg', kind: 'character', mode: 0o600, major: 1, minor: 11 },
    { ...own, path: 'dev/null', kind: 'character', mode: 0o666, major: 1, minor: 3 },
    file('init', 0o755, textContent(inputs.init)),
    directory('lib'),
    directory('lib/modules'),
    file(
      'lib/modules/load',
      0o644,
      textContent(
        selection.modules
          .map(({ name }) => `${name}.ko ${parameters.get(name) ?? ''}`.trimEnd() + '\n')
          .join(''),
      ),
    ),
    ...selection.modules.map(({ name, bytes }) => file(`lib/modules/${name}.ko`, 0o644, bytesContent(bytes))),
  ];
  return tree.sort((one, other) => (one.path < other.path ? -1 : 1));
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
