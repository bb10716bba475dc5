/** Which disk is meant. Pure but for one look at the file system, to say what a wrong name is instead. */
import { realpath, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { describeDisk, type Disk, FlashError, refusal } from './disk.ts';

/** Removable disks are all that is ever shown. */
export function removableDisks(disks: readonly Disk[]): readonly Disk[] {
  return disks.filter(({ isRemovable, isSystem }) => isRemovable && !isSystem);
}

/** One line for each: name, size, model, what is on it, and why it cannot be used if so. */
export function diskTable(disks: readonly Disk[], imageBytes: number, platform: NodeJS.Platform): string {
  const width = Math.max(0, ...disks.map((disk) => describeDisk(disk).length));
  return disks
    .map((disk) => {
      const contents = disk.contents.length === 0 ? 'empty' : disk.contents.join(', ');
      const no = refusal(disk, imageBytes, platform);
      return `  ${describeDisk(disk).padEnd(width)}  ${contents}${no === undefined ? '' : `\n      cannot be used: ${no.message}`}`;
    })
    .join('\n');
}

/** @throws FlashError 'no-disk' when no removable disk is connected at all */
export function requireRemovable(disks: readonly Disk[]): readonly Disk[] {
  const removable = removableDisks(disks);
  if (removable.length > 0) return removable;
  throw new FlashError(
    'no-disk',
    'No removable disk is connected',
    'Plug in a USB stick or a memory card (check that it sits firmly), and run the same command',
  );
}

/** True where an argument can only be a disk, not an image. */
export function looksLikeDevice(argument: string, disks: readonly Disk[]): boolean {
  return /^(\/dev\/|\\\\\.\\)/.test(argument) || byName(argument, disks) !== undefined;
}

function byName(argument: string, disks: readonly Disk[]): Disk | undefined {
  const wanted = argument.toLowerCase();
  return disks.find(({ name, path }) =>
    [name, path, `/dev/${name}`].some((known) => known.toLowerCase() === wanted),
  );
}

/**
 * The disk that `argument` names.
 * @throws FlashError when it is none, or a part of one
 */
export async function findDisk(argument: string, disks: readonly Disk[], cwd: string): Promise<Disk> {
  const named = byName(argument, disks);
  if (named !== undefined) return named;
  // /dev/disk/by-id/… are links.
  const path = resolve(cwd, argument);
  const real = await realpath(path).catch(() => path);
  const linked = byName(real, disks);
  if (linked !== undefined) return linked;
  const part = (real.split('/').at(-1) ?? real).toLowerCase();
  const whole = disks.find(({ partNames }) =>
    partNames.some((name) => [part, argument.toLowerCase()].includes(name.toLowerCase())),
  );
  if (whole !== undefined) {
    throw new FlashError(
      'partition',
      `${argument} is a part of ${describeDisk(whole)}, and the image is for a whole disk`,
      `If all of that disk may be erased, name it: ${whole.name}`,
    );
  }
  const known = removableDisks(disks)
    .map(({ name }) => name)
    .join(', ');
  const advice = known === '' ? 'Plug in a USB stick or a memory card' : `Name one of these: ${known}`;
  const status = await stat(path).catch(() => undefined);
  if (status?.isFile() || status?.isDirectory()) {
    const kind = status.isFile() ? 'file' : 'directory';
    throw new FlashError('not-a-disk', `${argument} is a ${kind}, not a disk`, advice);
  }
  const why = status === undefined ? 'There is no disk' : 'The system lists no disk';
  throw new FlashError('not-a-disk', `${why} ${argument}`, advice);
}
