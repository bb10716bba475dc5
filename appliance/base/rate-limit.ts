/**
 * How often each of many may do something: the generic cell rate algorithm, one number a key. Source: ITU-T
 * I.371 annex A.
 */
import type { Clock } from './clock.ts';

export interface RateLimitOptions {
  readonly perMinute: number;
  /** How many may come at once after a pause. */
  readonly burst: number;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Keys remembered; beyond, the one that was taken longest ago is forgotten. @default 100,000 */
  readonly maxKeys?: number;
}

export class RateLimiter {
  readonly #intervalMs: number;
  readonly #toleranceMs: number;
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #maxKeys: number;
  /** When each key's next turn would be due at an even pace; in order of the last change. */
  readonly #dueMs = new Map<string, number>();

  /** @throws RangeError when a figure is not positive */
  constructor({ perMinute, burst, clock, maxKeys = 100_000 }: RateLimitOptions) {
    if (!(perMinute > 0) || !(burst >= 1) || !(maxKeys >= 1)) {
      throw new RangeError(`Not a rate: ${perMinute} a minute, burst ${burst}, ${maxKeys} keys`);
    }
    this.#intervalMs = 60_000 / perMinute;
    this.#toleranceMs = this.#intervalMs * (burst - 1);
    this.#clock = clock;
    this.#maxKeys = maxKeys;
  }

  /** Keys remembered at the moment. */
  get size(): number {
    return this.#dueMs.size;
  }

  /** Milliseconds until `key` may again, 0 when it may now. Counts nothing. */
  waitMs(key: string): number {
    const now = this.#clock.monotonicMs();
    return Math.max(0, (this.#dueMs.get(key) ?? now) - now - this.#toleranceMs);
  }

  /**
   * Counts one turn of `key`.
   * @returns 0 when it may, otherwise the milliseconds until it may; a refused one is not counted
   */
  take(key: string): number {
    const waitMs = this.waitMs(key);
    if (waitMs > 0) return waitMs;
    const now = this.#clock.monotonicMs();
    const due = Math.max(now, this.#dueMs.get(key) ?? now);
    // Deleting first keeps the map in order of the last change, so that the oldest are at its head.
    this.#dueMs.delete(key);
    this.#dueMs.set(key, due + this.#intervalMs);
    this.#forget(now);
    return 0;
  }

  #forget(now: number): void {
    for (const [key, due] of this.#dueMs) {
      if (due > now && this.#dueMs.size <= this.#maxKeys) break;
      this.#dueMs.delete(key);
    }
  }
}
