/** Mounting and unmounting, through busybox: Node has no mount(2). */
import { readFile } from 'node:fs/promises';
import { CommandError, runCommand } from '../base/run-command.ts';
import { tools } from '../base/tools.ts';

/** proc_pid_mountinfo(5): space, tab, newline and backslash are octal escapes. */
function unescape(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** True when something is mounted at the path. Pure. */
export function isMountPoint(mountinfo: string, path: string): boolean {
  return mountinfo.split('\n').some((line) => unescape(line.split(' ')[4] ?? '') === path);
}

export async function isMounted(path: string): Promise<boolean> {
  return isMountPoint(await readFile('/proc/self/mountinfo', 'utf8'), path);
}

export interface MountRequest {
  readonly device: string;
  readonly path: string;
  readonly type: 'ext4' | 'vfat' | 'tmpfs';
  readonly options: readonly string[];
}

/** @throws CommandError when the kernel refuses */
export async function mount(
  { device, path, type, options }: MountRequest,
  signal: AbortSignal,
): Promise<void> {
  await runCommand([tools.busybox, 'mount', '-t', type, '-o', options.join(','), device, path], { signal });
}

/** Changes the options of what is mounted at the path. @throws CommandError when the kernel refuses */
export async function remount(path: string, options: readonly string[], signal: AbortSignal): Promise<void> {
  await runCommand([tools.busybox, 'mount', '-o', ['remount', ...options].join(','), path], { signal });
}

/**
 * Unmounts; while somebody still uses the filesystem it is made read-only instead, which writes out all the same.
 * @returns which of both was done; 'busy' when neither could be
 */
export async function unmount(
  path: string,
  signal: AbortSignal,
): Promise<'unmounted' | 'read-only' | 'busy'> {
  try {
    await runCommand([tools.busybox, 'umount', path], { signal });
    return 'unmounted';
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
  }
  try {
    await remount(path, ['ro'], signal);
    return 'read-only';
  } catch (error) {
    if (error instanceof CommandError) return 'busy';
    throw error;
  }
}
