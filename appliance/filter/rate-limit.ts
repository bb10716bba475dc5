/**
 * How much mail a sender may send: the generic cell rate algorithm, one number a sender. Source: ITU-T I.371
 * annex A; the figures are chatmail/relay's.
 */
import type { Clock } from '../base/clock.ts';

export interface RateLimitOptions {
  readonly perMinute: number;
  /** How many may come at once after a pause. */
  readonly burst: number;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Senders remembered; beyond, the one that wrote longest ago is forgotten. @default 100,000 */
  readonly maxSenders?: number;
}

export class RateLimiter {
  readonly #intervalMs: number;
  readonly #toleranceMs: number;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #maxSenders: number;
  /** When each sender's next message would be due at an even pace; in order of the last change. */
  readonly #dueMs = new Map<string, number>();

  /** @throws RangeError when a figure is not positive */
  constructor({ perMinute, burst, clock, maxSenders = 100_000 }: RateLimitOptions) {
    if (!(perMinute > 0) || !(burst >= 1) || !(maxSenders >= 1)) {
      throw new RangeError(`Not a rate: ${perMinute} a minute, burst ${burst}, ${maxSenders} senders`);
    }
    this.#intervalMs = 60_000 / perMinute;
    this.#toleranceMs = this.#intervalMs * (burst - 1);
    this.#clock = clock;
    this.#maxSenders = maxSenders;
  }

  /** Senders remembered at the moment. */
  get size(): number {
    return this.#dueMs.size;
  }

  /**
   * Counts one message of `sender`.
   * @returns 0 when it may be sent, otherwise the milliseconds until one may; a refused one is not counted
   */
  take(sender: string): number {
    const now = this.#clock.monotonicMs();
    const due = Math.max(now, this.#dueMs.get(sender) ?? now);
    const waitMs = due - now - this.#toleranceMs;
    if (waitMs > 0) return waitMs;
    // Deleting first keeps the map in order of the last change, so that the oldest are at its head.
    this.#dueMs.delete(sender);
    this.#dueMs.set(sender, due + this.#intervalMs);
    this.#forget(now);
    return 0;
  }

  #forget(now: number): void {
    for (const [sender, due] of this.#dueMs) {
      if (due > now && this.#dueMs.size <= this.#maxSenders) break;
      this.#dueMs.delete(sender);
    }
  }
}
