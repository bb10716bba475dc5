/**
 * The hardware watchdog: resets the machine unless it is fed. Fed only while the health check holds, so
 * that a machine that hangs, or whose services stay down for long, starts anew.
 * Kernel: Documentation/watchdog/watchdog-api.rst (any write feeds; "V" before close disarms).
 */
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { messageOf, systemCode } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

export interface WatchdogOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly isHealthy: () => boolean;
  /** Unhealthy for so long, and it is fed no more. Restarts with back-off get their chance before. */
  readonly graceMs?: number;
  /** Default /dev/watchdog0. */
  readonly device?: string;
  /** The file with the kernel's command line, where `chatmail.watchdog=off` keeps it off. Default /proc/cmdline. */
  readonly commandLine?: string;
}

const defaultGraceMs = 10 * 60_000;
const defaultTimeoutSec = 30;

/** Decides from the time of the last healthy moment whether to feed. Pure. */
export function shouldFeed(nowMs: number, lastHealthyMs: number, graceMs: number): boolean {
  return nowMs - lastHealthyMs < graceMs;
}

/** Whether a kernel command line says to leave the watchdog alone. Pure. */
export function isSwitchedOff(commandLine: string): boolean {
  return commandLine.trim().split(/\s+/).includes('chatmail.watchdog=off');
}

/**
 * Feeds the watchdog until disposed, which disarms it.
 * @returns undefined when the machine has none, or its command line says to leave it alone
 */
export async function startWatchdog(options: WatchdogOptions): Promise<AsyncDisposable | undefined> {
  const { clock, log, isHealthy, graceMs = defaultGraceMs, device = '/dev/watchdog0' } = options;
  if (isSwitchedOff(await readFile(options.commandLine ?? '/proc/cmdline', 'latin1').catch(() => ''))) {
    log.warn('watchdog is switched off on the kernel command line');
    return undefined;
  }
  let file: FileHandle;
  try {
    file = await open(device, 'w');
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' && systemCode(error) !== 'ENODEV') {
      log.warn('watchdog cannot be opened', { device, error: messageOf(error) });
    }
    return undefined;
  }
  const timeoutSec = await readTimeoutSec(device);
  const feedEveryMs = Math.max(1000, (timeoutSec * 1000) / 4);
  const stop = new AbortController();
  const feeding = (async () => {
    let lastHealthyMs = clock.monotonicMs();
    let isStarving = false;
    while (!stop.signal.aborted) {
      if (isHealthy()) lastHealthyMs = clock.monotonicMs();
      if (shouldFeed(clock.monotonicMs(), lastHealthyMs, graceMs)) {
        await file.write('\0');
        isStarving = false;
      } else if (!isStarving) {
        isStarving = true;
        log.error('services have been down for too long: the watchdog will reset the machine', {
          timeoutSec,
        });
      }
      await clock.sleep(feedEveryMs, stop.signal).catch(() => {});
    }
  })().catch((error: unknown) => log.error('watchdog cannot be fed', { error: messageOf(error) }));
  log.info('watchdog armed', { device, timeoutSec });
  return {
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await feeding;
      await file.write('V').catch(() => {});
      await file.close();
    },
  };
}

async function readTimeoutSec(device: string): Promise<number> {
  try {
    const text = await readFile(`/sys/class/watchdog/${basename(device)}/timeout`, 'latin1');
    const seconds = Number(text);
    return Number.isInteger(seconds) && seconds > 0 ? seconds : defaultTimeoutSec;
  } catch {
    return defaultTimeoutSec;
  }
}
