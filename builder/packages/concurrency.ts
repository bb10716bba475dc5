/** Several jobs at once, ended together. */

/**
 * Runs `work` on every item, at most `limit` at a time, and returns the results in the items' order. The
 * first failure aborts what is under way, and is thrown once all of it has ended.
 */
export async function mapConcurrently<T, R>(
  items: readonly T[],
  { limit, signal }: { limit: number; signal: AbortSignal },
  work: (item: T, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  const failure = new AbortController();
  const both = AbortSignal.any([signal, failure.signal]);
  const results: R[] = [];
  const queue = items.entries();
  const drain = async () => {
    for (const [index, item] of queue) {
      both.throwIfAborted();
      try {
        results[index] = await work(item, both);
      } catch (error) {
        failure.abort(error);
        throw error;
      }
    }
  };
  const workers = Array.from({ length: Math.min(limit, items.length) }, drain);
  const outcomes = await Promise.allSettled(workers);
  signal.throwIfAborted();
  if (failure.signal.aborted) throw failure.signal.reason;
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  return results;
}
