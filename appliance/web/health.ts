/** Whether the relay is well, as monitoring asks: anybody may, so the question is passed on rarely. */
import type { Clock } from '../base/clock.ts';

/** Anybody asking in between gets the same answer. */
const cacheMs = 2000;
const timeoutMs = 5000;

/** @param isHealthy asks the supervisor; a throw means no */
export function createHealthCheck(
  isHealthy: (signal: AbortSignal) => Promise<boolean>,
  clock: Pick<Clock, 'monotonicMs'>,
): () => Promise<boolean> {
  let running: Promise<boolean> | undefined;
  let askedMs = 0;
  const ask = async (): Promise<boolean> => {
    try {
      return await isHealthy(AbortSignal.timeout(timeoutMs));
    } catch {
      return false;
    }
  };
  return () => {
    if (running === undefined || clock.monotonicMs() - askedMs >= cacheMs) {
      askedMs = clock.monotonicMs();
      running = ask();
    }
    return running;
  };
}
