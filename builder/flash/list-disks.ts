/** Asks the operating system for its disks. */
import { messageOf } from '../../appliance/base/errors.ts';
import { runCommand } from '../../appliance/base/run-command.ts';
import type { Disk } from './disk.ts';
import { parseDiskutilInfo, parseDiskutilList, wholeDisks } from './diskutil.ts';
import { getDiskScript, parseGetDisk } from './get-disk.ts';
import { lsblkArguments, parseLsblk } from './lsblk.ts';

export interface Host {
  readonly platform: NodeJS.Platform;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** PowerShell takes seconds to start, on old machines many. */
const toolTimeoutMs = 60_000;

/**
 * Every disk of this machine, removable or not.
 * @throws Error when the system's tool is missing or fails, ProtocolError when its answer makes no sense
 */
export async function listDisks(host: Host, signal: AbortSignal): Promise<readonly Disk[]> {
  switch (host.platform) {
    case 'linux':
      return parseLsblk(await output(host, ['lsblk', ...lsblkArguments], signal));
    case 'darwin': {
      const list = parseDiskutilList(await output(host, ['diskutil', 'list', '-plist'], signal));
      const disks: Disk[] = [];
      for (const name of wholeDisks(list)) {
        const disk = parseDiskutilInfo(
          await output(host, ['diskutil', 'info', '-plist', name], signal),
          list,
        );
        if (disk !== null) disks.push(disk);
      }
      return disks;
    }
    case 'win32': {
      // UTF-16 in base64: the one way to hand over a script that no shell's quoting can spoil.
      const script = Buffer.from(getDiskScript, 'utf16le').toString('base64');
      const shell = ['powershell.exe', '-NoProfile', '-NonInteractive', '-EncodedCommand', script] as const;
      return parseGetDisk(await output(host, shell, signal));
    }
    default:
      throw new Error(`The disks of ${host.platform} cannot be listed`);
  }
}

async function output(
  host: Host,
  command: readonly [string, ...string[]],
  signal: AbortSignal,
): Promise<string> {
  try {
    const { stdout } = await runCommand(command, {
      signal,
      timeoutMs: toolTimeoutMs,
      env: toolEnvironment(host),
    });
    return stdout;
  } catch (error) {
    signal.throwIfAborted();
    throw new Error(`The disks of this machine cannot be listed: ${messageOf(error)}`, { cause: error });
  }
}

/** The caller's environment, in the language the tools are parsed in. */
export function toolEnvironment({ env, platform }: Host): Record<string, string> {
  const present = Object.entries(env).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, value]],
  );
  // Windows says Path, and takes the first of two names that differ in case only.
  const path = present.find(([name]) => name.toUpperCase() === 'PATH')?.[1] ?? '';
  const rest = Object.fromEntries(present.filter(([name]) => name.toUpperCase() !== 'PATH'));
  if (platform === 'win32') return { ...rest, PATH: path };
  return { ...rest, PATH: `${path}:/usr/sbin:/usr/bin:/sbin:/bin`, LC_ALL: 'C.UTF-8' };
}
