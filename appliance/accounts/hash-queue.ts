/**
 * At most so many hashes at once, at most so many waiting: what bounds the memory and the delay that
 * strangers with wrong passwords can cause.
 */

/** Thrown to the caller who would have been one too many. */
export class OverloadError extends Error {
  override name = 'OverloadError';
  readonly code = 'overload';
}

export interface HashQueue {
  /** @throws OverloadError at once when the queue is full */
  run<T>(task: () => Promise<T>): Promise<T>;
}

export function createHashQueue(limits: { concurrency: number; maxWaiting: number }): HashQueue {
  if (limits.concurrency < 1)
    throw new RangeError(`Concurrency must be at least 1, not ${limits.concurrency}`);
  const waiting: (() => void)[] = [];
  let running = 0;
  return {
    async run(task) {
      if (running >= limits.concurrency) {
        if (waiting.length >= limits.maxWaiting) {
          throw new OverloadError(`More than ${limits.maxWaiting} password checks are waiting`);
        }
        // The one who finishes hands its place over, so `running` does not change here.
        await new Promise<void>((resolve) => waiting.push(resolve));
      } else {
        running += 1;
      }
      try {
        return await task();
      } finally {
        const next = waiting.shift();
        if (next === undefined) running -= 1;
        else next();
      }
    },
  };
}
