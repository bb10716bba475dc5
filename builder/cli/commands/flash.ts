/** `flash`: writes an image to a removable disk, compares what the disk holds with it, and ejects it. */
import { readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import process from 'node:process';
import { askLine, canAsk } from '../../dns/ask.ts';
import { type BlockDevice, openBlockDevice } from '../../flash/block-device.ts';
import { diskTable, findDisk, looksLikeDevice, requireRemovable } from '../../flash/choose.ts';
import { describeDisk, type Disk, FlashError, isSameDisk, refusal } from '../../flash/disk.ts';
import { ejectDisk } from '../../flash/eject.ts';
import { type FlashImage, openImage } from '../../flash/image.ts';
import { listDisks } from '../../flash/list-disks.ts';
import { type FlashPlan, planFlash } from '../../flash/plan.ts';
import { whileOwning } from '../../flash/privilege.ts';
import { withSeed } from '../../flash/seed.ts';
import { type FlashSession, verifyFlash, writeFlash } from '../../flash/write.ts';
import { readSeedFlags, seedFlagHelp, seedFlagOptions } from '../../seed-flags.ts';
import { type Command, type CommandContext, parseFlags } from '../command.ts';
import { CliError } from '../errors.ts';
import { createProgress, formatBytes, type Progress, type Step } from '../progress.ts';

const help = `chatmail-build flash [IMAGE] [DEVICE] [options]

Writes IMAGE (default: the newest in out/) to a USB stick or memory card, reads it back and compares, and
ejects it. Everything on DEVICE is lost. Without DEVICE the removable disks are listed.

  IMAGE      an .img, an .img.zst or an .img.xz. With its .img.bmap beside it (the build puts it there)
             every part of the image is held against its checksum before anything is written
  DEVICE     a disk, by its name or path: sdb, /dev/sdb, disk4, PhysicalDrive2
  --yes      do not ask; DEVICE must be given
  --json     one JSON object a line on stdout: disk, step, progress, flashed

Settings for this card alone; IMAGE stays as it is. They go over those that the image was built with
${seedFlagHelp}
Only removable disks are written to, and none that is in use, write-protected or too small. Where opening
the disk takes more rights than you have, sudo asks for your password, for that alone.

Exit codes: 0 done, 1 failed or called off, 2 wrong usage, 130 interrupted.
`;

const flags = { yes: { type: 'boolean' }, json: { type: 'boolean' }, ...seedFlagOptions } as const;

export const command: Command = {
  name: 'flash',
  summary: 'write an image to a stick or card',
  help,
  run: (args, context) => runFlash(args, context),
};

/** The disks of a machine. Tests bring other ones. */
export interface FlashWorld {
  readonly platform: NodeJS.Platform;
  listDisks(signal: AbortSignal): Promise<readonly Disk[]>;
  openDevice(disk: Disk): Promise<BlockDevice>;
  /** Resolves to whether it could. */
  eject(disk: Disk, signal: AbortSignal): Promise<boolean>;
}

function realWorld(context: CommandContext): FlashWorld {
  const host = { platform: process.platform, env: context.env };
  return {
    platform: host.platform,
    listDisks: (signal) => listDisks(host, signal),
    openDevice: async (disk) => {
      const open = () => openBlockDevice(disk, host.platform);
      try {
        return await open();
      } catch (error) {
        const uid = process.getuid?.();
        const isRefused = error instanceof FlashError && error.code === 'no-permission';
        if (!isRefused || uid === undefined || !canAsk(context)) throw error;
        return whileOwning(disk.path, uid, error, host, context.signal, open);
      }
    },
    eject: (disk, signal) => ejectDisk(disk, host, signal),
  };
}

export async function runFlash(
  args: readonly string[],
  context: CommandContext,
  world: FlashWorld = realWorld(context),
): Promise<number> {
  const { values, positionals } = parseFlags(args, flags, { max: 2 });
  const progress = createProgress(context, values.json ?? false);
  const disks = await world.listDisks(context.signal);
  const named = nameArguments(positionals, disks);
  const built = await openImage(
    named.image === undefined
      ? await newestImage(join(context.cwd, 'out'))
      : resolve(context.cwd, named.image),
    context.signal,
  );
  const settings = await readSeedFlags(values, context);
  const image = settings === undefined ? built : await withSeed(built, settings, context.signal);
  const disk = await chooseDisk(named.device, disks, image, context, world, progress, values.yes ?? false);
  if (disk === undefined) {
    progress.note('Nothing was written');
    progress.event('result', { ok: false, reason: 'called off' });
    return 1;
  }
  const plan = await flashDisk(image, disk, context, world, progress, values.json ?? false);
  const ejected = await progress.step(
    'eject',
    () => world.eject(disk, context.signal),
    (done) => (done ? '' : 'nothing here can; it may simply be unplugged'),
  );
  progress.event('flashed', {
    image: image.path,
    disk: disk.name,
    imageBytes: plan.imageBytes,
    writtenBytes: plan.writtenBytes,
    ejected,
    settingsChanged: settings !== undefined,
  });
  progress.note(nextSteps(image, disk, ejected, values.wifi));
  return 0;
}

/** `flash DEVICE` is `flash` with the newest image. */
function nameArguments(
  positionals: readonly string[],
  disks: readonly Disk[],
): { readonly image: string | undefined; readonly device: string | undefined } {
  const [first, second] = positionals;
  if (first !== undefined && second === undefined && looksLikeDevice(first, disks)) {
    return { image: undefined, device: first };
  }
  return { image: first, device: second };
}

async function newestImage(directory: string): Promise<string> {
  const names = await readdir(directory).catch(() => []);
  const images = await Promise.all(
    names
      .filter((name) => /\.img(?:\.zst|\.xz)?$/.test(name))
      .map(async (name) => ({
        path: join(directory, name),
        mtimeMs: (await stat(join(directory, name))).mtimeMs,
      })),
  );
  const newest = images.sort((one, other) => other.mtimeMs - one.mtimeMs)[0];
  if (newest === undefined) {
    throw new CliError('missing', `There is no image in ${directory}`, {
      fix: 'Build one (chatmail-build --domain chat.example.org), or say which: chatmail-build flash IMAGE',
    });
  }
  return newest.path;
}

/** @returns undefined when the person says no */
async function chooseDisk(
  device: string | undefined,
  disks: readonly Disk[],
  image: FlashImage,
  context: CommandContext,
  world: FlashWorld,
  progress: Progress,
  isAgreed: boolean,
): Promise<Disk | undefined> {
  const named = device === undefined ? undefined : await findDisk(device, disks, context.cwd);
  const no = named && refusal(named, image.sizeBytes, world.platform);
  if (no !== undefined) throw no;
  if (named !== undefined && isAgreed) return named;

  const shown = named === undefined ? requireRemovable(disks) : [named];
  for (const disk of shown) {
    const reason = refusal(disk, image.sizeBytes, world.platform)?.code;
    const { name, path, model, sizeBytes, contents } = disk;
    progress.event('disk', { name, path, model, sizeBytes, contents, ...(reason && { refused: reason }) });
  }
  progress.note(
    `${named === undefined ? 'Removable disks:' : 'To be erased:'}\n${diskTable(shown, image.sizeBytes, world.platform)}\n`,
  );
  const usable = shown.filter((disk) => refusal(disk, image.sizeBytes, world.platform) === undefined);
  const only = usable[0];
  if (only === undefined) {
    const first = shown[0];
    throw (first && refusal(first, image.sizeBytes, world.platform)) ?? new RangeError('No disk is shown');
  }
  if (!canAsk(context)) {
    throw new CliError(
      'usage',
      named ? 'Nobody can be asked whether to erase the disk' : 'No disk is named',
      {
        fix: `Name the disk and agree to lose what is on it: chatmail-build flash ${basename(image.path)} ${only.name} --yes`,
      },
    );
  }
  const names = usable.map(({ name }) => name).join(' or ');
  const answer = await askLine(
    `Everything on the disk will be lost. Type its name (${names}) to go on, or nothing to stop: `,
    context,
  );
  if (answer.trim() === '') return undefined;
  const chosen = usable.find(({ name, path }) => [name, path].includes(answer.trim()));
  if (chosen === undefined) progress.note(`${JSON.stringify(answer.trim())} is not ${names}`);
  return chosen;
}

async function flashDisk(
  image: FlashImage,
  disk: Disk,
  context: CommandContext,
  world: FlashWorld,
  progress: Progress,
  json: boolean,
): Promise<FlashPlan> {
  const { signal } = context;
  let hasBegun = false;
  try {
    await using device = await world.openDevice(disk);
    // Between the list and now a person may have thought, and changed the stick or mounted it.
    const now = (await world.listDisks(signal)).find(({ path }) => path === disk.path);
    if (now === undefined || !isSameDisk(now, disk)) {
      throw new FlashError(
        'disk-vanished',
        `${describeDisk(disk)} is no longer the disk it was when it was listed`,
        'Leave the disk plugged in, and run the same command',
      );
    }
    const no = refusal(now, image.sizeBytes, world.platform);
    if (no !== undefined) throw no;
    const report = (step: Step, phase: string) => reporter(step, phase, progress, json);
    const session = (step: Step, phase: string): FlashSession => ({
      disk,
      device,
      signal,
      onProgress: report(step, phase),
    });
    const plan = await progress.step(
      'check the image',
      (step) => planFlash(image, signal, report(step, 'check')),
      ({ imageBytes, writtenBytes }) =>
        `${formatBytes(writtenBytes)} to write, ${formatBytes(imageBytes - writtenBytes)} empty${image.mapPath === undefined ? '' : ', as its .bmap says'}`,
    );
    hasBegun = true;
    await progress.step(`write ${disk.name}`, (step) => writeFlash(image, plan, session(step, 'write')));
    await progress.step('read back and compare', (step) => verifyFlash(plan, session(step, 'verify')));
    return plan;
  } catch (error) {
    if (!signal.aborted || error instanceof FlashError) throw error;
    throw new CliError('interrupted', hasBegun ? 'Interrupted' : 'Interrupted before anything was written', {
      fix: hasBegun
        ? `Run the same command again: ${disk.name} holds nothing usable until it has ended`
        : 'Run the same command again',
      cause: error,
    });
  }
}

/** For machines a line a second; the terminal limits itself. */
const eventEveryMs = 1000;

function reporter(
  step: Step,
  phase: string,
  progress: Progress,
  json: boolean,
): (doneBytes: number, totalBytes: number) => void {
  const startedMs = performance.now();
  let reportedMs = startedMs;
  return (doneBytes, totalBytes) => {
    const nowMs = performance.now();
    const bytesPerSecond = Math.round(doneBytes / Math.max(0.001, (nowMs - startedMs) / 1000));
    const percent = Math.floor((100 * doneBytes) / Math.max(1, totalBytes));
    step.update(
      `${percent} %  ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}, ${formatBytes(bytesPerSecond)}/s`,
    );
    if (!json || (nowMs - reportedMs < eventEveryMs && doneBytes < totalBytes)) return;
    reportedMs = nowMs;
    progress.event('progress', { phase, doneBytes, totalBytes, bytesPerSecond });
  };
}

function nextSteps(image: FlashImage, { name }: Disk, ejected: boolean, wifi: string | undefined): string {
  const [, domain = 'NAME', target = ''] =
    /^(.+)-((?:vm|rpi)-[a-z0-9_]+)\.img(?:\.zst|\.xz)?$/.exec(basename(image.path)) ?? [];
  const cable = wifi === undefined ? ' connect the network cable,' : '';
  const start = target.startsWith('rpi')
    ? `Put it into the Raspberry Pi,${cable === '' ? ' and connect' : `${cable} then`} the power`
    : `Put it into the machine,${cable} and start it from this disk`;
  return [
    '',
    `${name} is ready. Everything was read back and is as it should be.`,
    'Next:',
    ejected ? '  1. Unplug it.' : '  1. Unplug it: nothing is left to be written.',
    `  2. ${start}.`,
    `  3. After a minute or two:  chatmail-build dns check --domain ${domain}`,
    '',
  ].join('\n');
}
