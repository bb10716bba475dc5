import { describe, expect, test } from 'vitest';
import { createHashQueue, OverloadError } from '../../../appliance/accounts/hash-queue.ts';

function gate() {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { task: () => promise, open: resolve };
}

describe('createHashQueue', () => {
  test('runs so many at once, the others in order, and turns the rest away at once', async () => {
    const queue = createHashQueue({ concurrency: 2, maxWaiting: 1 });
    const gates = [gate(), gate(), gate()];
    const finished: number[] = [];
    const jobs = gates.map(({ task }, index) => queue.run(task).then(() => finished.push(index)));
    await expect(queue.run(async () => {})).rejects.toThrow(OverloadError);
    gates[2]?.open();
    gates[1]?.open();
    await jobs[1];
    await jobs[2];
    expect(finished).toEqual([1, 2]);
    gates[0]?.open();
    await Promise.all(jobs);
    await expect(queue.run(async () => 'free again')).resolves.toBe('free again');
  });

  test('gives its place back when a task fails', async () => {
    const queue = createHashQueue({ concurrency: 1, maxWaiting: 0 });
    await expect(queue.run(() => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    await expect(queue.run(async () => 1)).resolves.toBe(1);
  });

  test('refuses to be without a worker', () => {
    expect(() => createHashQueue({ concurrency: 0, maxWaiting: 1 })).toThrow(RangeError);
  });
});
