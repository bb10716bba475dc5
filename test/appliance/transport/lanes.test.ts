import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createLanes } from '../../../appliance/transport/lanes.ts';
import { RecentSet } from '../../../appliance/transport/recent-set.ts';

const signal = new AbortController().signal;

describe('createLanes', () => {
  test('lets so many in, so many wait, and turns away the rest', async () => {
    const lanes = createLanes({ maxActive: 1, maxWaiting: 1 });
    const first = await lanes.enter('a', signal);
    const second = lanes.enter('a', signal);
    expect(await lanes.enter('a', signal)).toBeNull();
    expect(await lanes.enter('b', signal)).not.toBeNull();
    first?.[Symbol.dispose]();
    // Leaving twice frees nothing twice.
    first?.[Symbol.dispose]();
    const place = await second;
    const third = lanes.enter('a', signal);
    expect(await lanes.enter('a', signal)).toBeNull();
    place?.[Symbol.dispose]();
    expect(await third).not.toBeNull();
  });

  test('who gives up waiting leaves its turn to the next', async () => {
    const lanes = createLanes({ maxActive: 1, maxWaiting: 2 });
    const first = await lanes.enter('a', signal);
    const impatient = new AbortController();
    const second = lanes.enter('a', impatient.signal);
    const third = lanes.enter('a', signal);
    impatient.abort(new Error('Enough'));
    await expect(second).rejects.toThrow('Enough');
    first?.[Symbol.dispose]();
    expect(await third).not.toBeNull();
  });

  test('never has more at work than allowed, and loses no place', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { maxLength: 40 }), async (comings) => {
        const lanes = createLanes({ maxActive: 2, maxWaiting: 100 });
        const inside: Disposable[] = [];
        for (const comes of comings) {
          if (comes) {
            void lanes.enter('a', signal).then((place) => place !== null && inside.push(place));
          } else inside.shift()?.[Symbol.dispose]();
          await new Promise((resolve) => setImmediate(resolve));
          expect(inside.length).toBeLessThanOrEqual(2);
        }
        const coming = comings.filter(Boolean).length;
        while (inside.length > 0) {
          inside.shift()?.[Symbol.dispose]();
          await new Promise((resolve) => setImmediate(resolve));
        }
        // All gone: the lane is as new.
        const again = await Promise.all([lanes.enter('a', signal), lanes.enter('a', signal)]);
        expect(again.every((place) => place !== null)).toBe(true);
        expect(coming).toBeGreaterThanOrEqual(0);
      }),
      { numRuns: 30 },
    );
  });
});

describe('RecentSet', () => {
  test('forgets with time, and the oldest when there are too many', () => {
    let nowMs = 0;
    const recent = new RecentSet({ maxKeys: 2, forMs: 100, nowMs: () => nowMs });
    recent.add('a');
    nowMs = 50;
    recent.add('b');
    expect([recent.has('a'), recent.has('b')]).toEqual([true, true]);
    nowMs = 100;
    expect([recent.has('a'), recent.has('b')]).toEqual([false, true]);
    recent.add('c');
    recent.add('b');
    recent.add('d');
    expect([recent.has('c'), recent.has('b'), recent.has('d')]).toEqual([false, true, true]);
  });
});
