/** Time as something that is handed in, so that tests need not wait for it. */
import { setTimeout as delay } from 'node:timers/promises';

export interface Clock {
  /** Milliseconds on a clock that never jumps; only differences mean something. */
  monotonicMs(): number;
  /** Milliseconds since 1970, as the machine believes. */
  wallMs(): number;
  /** Resolves after `ms` milliseconds, rejects with an AbortError when `signal` fires. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  sleep: (ms, signal) => delay(ms, undefined, signal === undefined ? {} : { signal }),
};
