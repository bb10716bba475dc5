/** What Ctrl-C means: the first one ends the work properly, the second one at once, the third one whatever is left behind. */

export interface Interruption {
  /** Aborted by the first: whoever works stops, and tidies up. */
  readonly signal: AbortSignal;
  /** Aborted by the second: whoever takes time to stop properly stops at once. */
  readonly force: AbortSignal;
  /** A SIGINT or SIGTERM came. */
  readonly interrupt: () => void;
}

/**
 * A terminal sends Ctrl-C to npm, npx and us, and each of the former passes it on: what follows so closely
 * is the same one. No finger is as fast.
 */
export const sameInterruptMs = 200;

/**
 * @param nowMs a clock that never jumps
 * @param exit ends the process, whatever it does
 */
export function createInterruption(nowMs: () => number, exit: () => void): Interruption {
  const proper = new AbortController();
  const force = new AbortController();
  let lastMs = Number.NEGATIVE_INFINITY;
  return {
    signal: proper.signal,
    force: force.signal,
    interrupt() {
      const sinceMs = nowMs() - lastMs;
      if (sinceMs < sameInterruptMs) return;
      lastMs = nowMs();
      if (force.signal.aborted) exit();
      else (proper.signal.aborted ? force : proper).abort();
    },
  };
}
