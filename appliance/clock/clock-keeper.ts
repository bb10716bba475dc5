/** Sets the time at boot, saves it while running, and says whether chrony has confirmed it. */
import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import { readTextIfPresent, writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { runCommand } from '../base/run-command.ts';
import { tools } from '../base/tools.ts';
import { chooseTime, isClockless } from './choose-time.ts';

export interface ClockKeeperOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** File with the time saved last. */
  readonly lastTimePath: string;
}

const saveEveryMs = 60 * 60_000;
const releaseSchema = v.object({ date: v.string() });

/** Sets the system's clock forward where it is behind what is known. @returns whether it was */
export async function setBootTime(
  options: ClockKeeperOptions & {
    /** release.json of the image. */
    readonly releasePath: string;
  },
): Promise<{ wasClockless: boolean }> {
  const { clock, log, signal } = options;
  const nowMs = clock.wallMs();
  const saved = await readTextIfPresent(options.lastTimePath).catch(() => undefined);
  const chosenMs = chooseTime(nowMs, saved, await readBuildDate(options.releasePath));
  if (!isClockless(nowMs, chosenMs)) return { wasClockless: false };
  const seconds = Math.floor(chosenMs / 1000);
  await runCommand([tools.busybox, 'date', '-u', '-s', `@${seconds}`], { signal });
  log.info('clock set from what was known', { from: new Date(nowMs).toISOString(), seconds });
  return { wasClockless: true };
}

async function readBuildDate(path: string): Promise<string | undefined> {
  try {
    return v.parse(releaseSchema, JSON.parse(await readFile(path, 'utf8'))).date;
  } catch {
    return undefined;
  }
}

/** Writes the time down. A full or broken disk is logged, nothing more. */
export async function saveTime({
  clock,
  log,
  lastTimePath,
}: Omit<ClockKeeperOptions, 'signal'>): Promise<void> {
  try {
    await writeFileAtomic(lastTimePath, `${Math.floor(clock.wallMs() / 1000)}\n`, { mode: 0o644 });
  } catch (error) {
    log.warn('time cannot be saved', { error: messageOf(error) });
  }
}

/** Saves the time every hour until `signal` fires. */
export async function keepSavingTime(options: ClockKeeperOptions): Promise<void> {
  const { clock, signal } = options;
  while (!signal.aborted) {
    await saveTime(options);
    await clock.sleep(saveEveryMs, signal).catch(() => {});
  }
}
