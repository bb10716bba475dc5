/**
 * Makes sure that idling clients hear of new mail. A connection that Dovecot is just putting into
 * hibernation forgets a change of its mailbox it has noticed but not yet reported, and watches only for
 * later ones (mailbox_watch_extract_notify_fd in src/lib-storage/mailbox-watch.c opens a new inotify
 * instance). Chat answers come about a second after a message, which is when connections hibernate, so one
 * message in a hundred was announced minutes late. A moment after each delivery a file is therefore replaced
 * beside the mail: whoever sleeps over it wakes and looks; whoever is awake does so for next to nothing.
 */
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

export interface AnnouncerSettings {
  /** Replaces a file, as the owner of the mail. */
  readonly touch: (path: string, signal: AbortSignal) => Promise<void>;
  /** The directory of an account's mail. */
  readonly homeOf: (address: string) => string;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Announcer extends AsyncDisposable {
  /** Mail has been delivered to `address`. Returns at once. */
  announce(address: string): void;
}

/**
 * Longer than a hand-over to the hibernating process takes (tens of milliseconds on a busy Pi), shorter
 * than a person notices.
 */
export const announceAfterMs = 300;

/** Maildir skips names with a leading dot, but its watcher does not. */
const fileName = 'new/.announced';

/** Beyond this a flood of mail goes on without; the next delivery to the account announces it again. */
const maxWaiting = 10_000;

/** Creates an announcer; disposing of it forgets what waits. */
export function createAnnouncer({ touch, homeOf, clock, log }: AnnouncerSettings): Announcer {
  const stop = new AbortController();
  const waiting = new Map<string, number>();
  let running: Promise<void> | undefined;

  const work = async (): Promise<void> => {
    for (let next = first(waiting); next !== undefined; next = first(waiting)) {
      const [address, dueMs] = next;
      const leftMs = dueMs - clock.monotonicMs();
      if (leftMs > 0) {
        await clock.sleep(leftMs, stop.signal);
        // More mail may have come for it meanwhile, or an end.
        continue;
      }
      waiting.delete(address);
      try {
        await touch(`${homeOf(address)}/${fileName}`, stop.signal);
      } catch (error) {
        if (stop.signal.aborted) return;
        log.warn('not announced again', { reason: messageOf(error) });
      }
    }
  };
  const start = (): void => {
    running ??= work()
      .catch((error: unknown) => {
        if (!stop.signal.aborted) log.error('announcer failed', { reason: messageOf(error) });
      })
      .finally(() => {
        running = undefined;
        if (waiting.size > 0 && !stop.signal.aborted) start();
      });
  };

  return {
    announce(address) {
      if (waiting.size >= maxWaiting || stop.signal.aborted) return;
      // Anew, so that the order of the map stays that of the times, and the last of a burst counts.
      waiting.delete(address);
      waiting.set(address, clock.monotonicMs() + announceAfterMs);
      start();
    },
    async [Symbol.asyncDispose]() {
      stop.abort();
      waiting.clear();
      await running;
    },
  };
}

function first(waiting: ReadonlyMap<string, number>): [string, number] | undefined {
  const { value, done } = waiting.entries().next();
  return done === true ? undefined : value;
}
