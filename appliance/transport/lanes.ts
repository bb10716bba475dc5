/** Bounds what goes on at once for one key, and how many wait; more than that is told to come again. */
export interface LanesOptions {
  readonly maxActive: number;
  readonly maxWaiting: number;
}

export interface Lanes {
  /** Resolves when it is our turn, disposed of when done; null at once when too many wait. */
  enter(key: string, signal: AbortSignal): Promise<Disposable | null>;
}

interface Lane {
  active: number;
  readonly waiting: (() => void)[];
}

export function createLanes({ maxActive, maxWaiting }: LanesOptions): Lanes {
  const lanes = new Map<string, Lane>();
  const leave = (key: string, lane: Lane): void => {
    const next = lane.waiting.shift();
    // The place goes from hand to hand.
    if (next !== undefined) next();
    else if (--lane.active === 0) lanes.delete(key);
  };
  return {
    async enter(key, signal) {
      signal.throwIfAborted();
      const lane = lanes.get(key) ?? { active: 0, waiting: [] };
      lanes.set(key, lane);
      let left = false;
      const place: Disposable = {
        [Symbol.dispose]() {
          if (left) return;
          left = true;
          leave(key, lane);
        },
      };
      if (lane.active < maxActive) {
        lane.active++;
        return place;
      }
      if (lane.waiting.length >= maxWaiting) return null;
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const onAbort = () => {
        const index = lane.waiting.indexOf(resolve);
        if (index >= 0) lane.waiting.splice(index, 1);
        reject(signal.reason);
      };
      lane.waiting.push(resolve);
      signal.addEventListener('abort', onAbort, { once: true });
      try {
        await promise;
        return place;
      } finally {
        signal.removeEventListener('abort', onAbort);
      }
    },
  };
}
