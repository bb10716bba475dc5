/** Tells the system to let go of a disk, so that desktops do not mount it and its light goes out. */
import { runCommand } from '../../appliance/base/run-command.ts';
import type { Disk } from './disk.ts';
import { type Host, toolEnvironment } from './list-disks.ts';

const ejectTimeoutMs = 30_000;

/** Tried in this order; the first that works is enough. */
export function ejectCommands(
  { name, path }: Disk,
  platform: NodeJS.Platform,
): readonly [string, ...string[]][] {
  switch (platform) {
    case 'linux':
      return [
        ['udisksctl', 'power-off', '--no-user-interaction', '--block-device', path],
        ['eject', path],
      ];
    case 'darwin':
      return [['diskutil', 'eject', name]];
    default:
      // Windows has no command for it; its disks are written without a cache, and may simply be pulled.
      return [];
  }
}

/** @returns false when nothing here can: everything is on the disk nevertheless, since it was flushed */
export async function ejectDisk(disk: Disk, host: Host, signal: AbortSignal): Promise<boolean> {
  const env = toolEnvironment(host);
  for (const command of ejectCommands(disk, host.platform)) {
    try {
      await runCommand(command, { signal, env, timeoutMs: ejectTimeoutMs });
      return true;
    } catch {
      signal.throwIfAborted();
    }
  }
  return false;
}
