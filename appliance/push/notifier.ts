/**
 * Wakes phones: each delivery posts the account's push tokens to the notification gateway of Delta Chat,
 * which passes them on to Apple, Google and others (chatmail/notifiers). The tokens are opaque here, and
 * nothing but the token is sent.
 *
 * 200: done · 410: the device is gone, forget the token · anything else: again after 8, 64, 512 … seconds,
 * until five hours have passed.
 *
 * What waits for another try is stored and outlives a restart. A first try is stored only when it fails or
 * is cut short: most succeed at once, and an SD card need not be written for each message.
 */
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

/** A notification that could not be delivered yet. Times are seconds since 1970. */
export interface PendingPush {
  readonly address: string;
  readonly token: string;
  readonly firstSec: number;
  readonly dueSec: number;
  readonly attempts: number;
}

/** Where tokens and pending notifications are kept. */
export interface PushStore {
  tokens(address: string, today: number): string[];
  removeToken(address: string, token: string): void;
  addPendingPush(push: PendingPush): void;
  pendingPushes(dueSec: number, limit: number): PendingPush[];
  nextPushSec(): number | null;
  removePendingPush(token: string): void;
}

/** Posts one token; the HTTP status. Throws when there is none. */
export type PostToken = (token: string, signal: AbortSignal) => Promise<number>;

export interface NotifierCounts {
  delivered: number;
  gone: number;
  retried: number;
  dropped: number;
}

export interface Notifier extends AsyncDisposable {
  /** Notifies every device of `address`. Returns at once. */
  notify(address: string): void;
  readonly counts: NotifierCounts;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

export const retryBaseSec = 8;
export const dropAfterSec = 5 * 3600;

/** The gateway answers in well under a second; more at once would only queue there. */
const maxConcurrent = 16;
/** Beyond this many waiting tokens something is badly wrong; newer ones go to the store. */
const maxWaiting = 10_000;
const maxTimerMs = 60_000;

/** When to try a notification again after its `attempts`-th failure, or null for never. */
export function retryDelaySec(push: { firstSec: number; attempts: number }, nowSec: number): number | null {
  const delaySec = retryBaseSec ** push.attempts;
  return nowSec + delaySec - push.firstSec > dropAfterSec ? null : delaySec;
}

export function createNotifier(options: {
  readonly store: PushStore;
  readonly post: PostToken;
  readonly clock: Clock;
  readonly log: Log;
}): Notifier {
  const { store, post, clock, log } = options;
  const counts: NotifierCounts = { delivered: 0, gone: 0, retried: 0, dropped: 0 };
  const stop = new AbortController();
  /** By token: two messages in a row need to wake a phone once. */
  const waiting = new Map<string, PendingPush>();
  const running = new Set<Promise<void>>();
  let timer: NodeJS.Timeout | undefined;

  const nowSec = () => Math.floor(clock.wallMs() / 1000);

  async function attempt(push: PendingPush): Promise<void> {
    let status = 0;
    let reason = '';
    try {
      status = await post(push.token, stop.signal);
    } catch (error) {
      reason = messageOf(error);
    }
    if (status === 200 || status === 410) {
      if (status === 410) store.removeToken(push.address, push.token);
      // An earlier message's retry is settled by it, too.
      store.removePendingPush(push.token);
      counts[status === 200 ? 'delivered' : 'gone'] += 1;
      return;
    }
    if (stop.signal.aborted) return store.addPendingPush(push);
    const attempts = push.attempts + 1;
    const delaySec = retryDelaySec({ firstSec: push.firstSec, attempts }, nowSec());
    if (delaySec === null) {
      store.removePendingPush(push.token);
      counts.dropped += 1;
      log.warn('notification dropped', { status, reason });
      return;
    }
    store.addPendingPush({ ...push, attempts, dueSec: nowSec() + delaySec });
    counts.retried += 1;
    log.debug('notification put off', { status, reason, delaySec });
    schedule();
  }

  function pump(): void {
    while (running.size < maxConcurrent && !stop.signal.aborted) {
      const [next] = waiting.values();
      if (next === undefined) return;
      waiting.delete(next.token);
      const job = attempt(next)
        .catch((error: unknown) => log.error('notification failed', { reason: messageOf(error) }))
        .finally(() => {
          running.delete(job);
          pump();
        });
      running.add(job);
    }
  }

  function enqueue(push: PendingPush): void {
    if (waiting.has(push.token)) return;
    if (waiting.size < maxWaiting) waiting.set(push.token, push);
    else store.addPendingPush({ ...push, dueSec: nowSec() + retryBaseSec });
  }

  function retryDue(): void {
    const due = store.pendingPushes(nowSec(), maxConcurrent * 4);
    for (const push of due) {
      // Moved ahead before it is tried, so that the next look does not find it again.
      store.addPendingPush({ ...push, dueSec: nowSec() + dropAfterSec });
      enqueue(push);
    }
    pump();
    schedule();
  }

  /** Sleeps until the next one is due, at most a minute, since the wall clock may be set meanwhile. */
  function schedule(): void {
    clearTimeout(timer);
    if (stop.signal.aborted) return;
    const dueSec = store.nextPushSec();
    if (dueSec === null) return;
    const delayMs = Math.min(maxTimerMs, Math.max(0, dueSec * 1000 - clock.wallMs()));
    timer = setTimeout(retryDue, delayMs);
  }

  schedule();
  return {
    counts,
    notify(address) {
      const firstSec = nowSec();
      const today = Math.floor(firstSec / 86_400);
      for (const token of store.tokens(address, today)) {
        enqueue({ address, token, firstSec, dueSec: firstSec, attempts: 0 });
      }
      pump();
    },
    async idle() {
      while (running.size > 0) await Promise.all(running);
    },
    async [Symbol.asyncDispose]() {
      clearTimeout(timer);
      stop.abort();
      await Promise.allSettled(running);
      for (const push of waiting.values()) store.addPendingPush(push);
      waiting.clear();
    },
  };
}
