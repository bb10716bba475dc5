import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  addressTimes,
  type AddressState,
  type AddressType,
  addressTypes,
  confirmedAddress,
  decide,
  initialState,
  nextLookMs,
  withChange,
  withFailure,
  withSighting,
} from '../../../appliance/dns/address-plan.ts';

const seconds = (count: number) => count * 1000;
const unknown = { A: null, AAAA: null };
/** Seen often enough, long after the start. */
const sure = (address: string): AddressState =>
  [0, 60, 120, 180].reduce(
    (state, at) => withSighting(state, { A: address }, seconds(1000 + at)),
    initialState(0),
  );
const now = seconds(1180);

describe('an address', () => {
  test('seen once is not believed; seen again two minutes later it is', () => {
    const once = withSighting(initialState(0), { A: '1.1.1.1' }, seconds(1000));
    expect(confirmedAddress(once, 'A', seconds(1000))).toBeNull();
    const early = withSighting(once, { A: '1.1.1.1' }, seconds(1119));
    expect(confirmedAddress(early, 'A', seconds(1119))).toBeNull();
    const late = withSighting(early, { A: '1.1.1.1' }, seconds(1120));
    expect(confirmedAddress(late, 'A', seconds(1120))).toBe('1.1.1.1');
  });

  test('is believed after twenty seconds just after the start', () => {
    const once = withSighting(initialState(0), { A: '1.1.1.1' }, seconds(5));
    expect(confirmedAddress(withSighting(once, { A: '1.1.1.1' }, seconds(24)), 'A', seconds(24))).toBeNull();
    expect(confirmedAddress(withSighting(once, { A: '1.1.1.1' }, seconds(25)), 'A', seconds(25))).toBe(
      '1.1.1.1',
    );
  });

  test('starts anew after another one, but not after a look that saw nothing', () => {
    const other = withSighting(sure('1.1.1.1'), { A: '2.2.2.2' }, now);
    expect(confirmedAddress(other, 'A', now)).toBeNull();
    const nothing = withSighting(sure('1.1.1.1'), { A: null }, now);
    expect(confirmedAddress(nothing, 'A', now)).toBe('1.1.1.1');
  });

  test('that was not seen for long is not known any more', () => {
    const later = now + addressTimes.stale;
    expect(confirmedAddress(sure('1.1.1.1'), 'A', later)).toBe('1.1.1.1');
    expect(confirmedAddress(sure('1.1.1.1'), 'A', later + 1)).toBeNull();
    const again = withSighting(sure('1.1.1.1'), { A: '1.1.1.1' }, later + 1);
    expect(confirmedAddress(again, 'A', later + 1)).toBeNull();
  });
});

describe('decide', () => {
  test.each([
    ['nothing, where nothing is published', [], { kind: 'publish', address: '1.1.1.1' }],
    ['another address', ['2.2.2.2'], { kind: 'publish', address: '1.1.1.1' }],
    ['the address', ['1.1.1.1'], { kind: 'keep' }],
    ['the address among others', ['2.2.2.2', '1.1.1.1'], { kind: 'keep' }],
    ['several others', ['2.2.2.2', '3.3.3.3'], { kind: 'ambiguous', address: '1.1.1.1' }],
    ['what is not known', null, { kind: 'keep' }],
  ])('%s', (_, published, decision) => {
    expect(decide(sure('1.1.1.1'), 'A', { ...unknown, A: published }, now)).toEqual(decision);
  });

  test('waits ten minutes between changes of one family', () => {
    const changed = withChange(sure('1.1.1.1'), 'A', now - seconds(60));
    const untilMs = now - seconds(60) + addressTimes.betweenChanges;
    expect(decide(changed, 'A', { A: [], AAAA: [] }, now)).toEqual({ kind: 'wait', untilMs });
    expect(nextLookMs(changed, [{ kind: 'wait', untilMs }], now)).toBe(addressTimes.look);
    expect(nextLookMs(changed, [{ kind: 'wait', untilMs: now + 5000 }], now)).toBe(5000);
  });

  test('waits longer after each failure, an hour at most', () => {
    let state = sure('1.1.1.1');
    const waits = Array.from({ length: 40 }, () => (state = withFailure(state, now)).retryMs - now);
    expect(waits.slice(0, 4)).toEqual([60, 120, 240, 480].map(seconds));
    expect(waits.at(-1)).toBe(addressTimes.maxRetry);
    expect(decide(state, 'A', { A: [], AAAA: [] }, now).kind).toBe('wait');
    expect(withChange(state, 'A', now)).toMatchObject({ failures: 0, retryMs: now });
  });
});

describe('nextLookMs', () => {
  test('looks again soon while an address is not sure, and at the start', () => {
    expect(nextLookMs(initialState(0), [], 0)).toBe(addressTimes.lookAgain);
    expect(nextLookMs(initialState(0), [], addressTimes.settle)).toBe(addressTimes.look);
    expect(nextLookMs(sure('1.1.1.1'), [], now)).toBe(addressTimes.look);
    expect(nextLookMs(withSighting(sure('1.1.1.1'), { A: '2.2.2.2' }, now), [], now)).toBe(
      addressTimes.lookAgain,
    );
  });
});

const pool = ['1.1.1.1', '2.2.2.2', '3.3.3.3'];
const events = fc.array(
  fc.record({
    afterMs: fc.integer({ min: 1, max: 20 * 60_000 }),
    A: fc.option(fc.constantFrom(...pool)),
    AAAA: fc.option(fc.constantFrom('2001::1', '2001::2')),
    fails: fc.boolean(),
    /** What somebody else does to the records meanwhile. */
    foreign: fc.option(fc.subarray(pool), { freq: 8 }),
    blind: fc.boolean(),
  }),
  { maxLength: 60 },
);

describe('whatever is seen', () => {
  test('only what was seen twice is published, never too often, and nothing is taken away', () => {
    fc.assert(
      fc.property(events, (steps) => {
        let state = initialState(0);
        let nowMs = 0;
        const records: Record<AddressType, readonly string[]> = { A: ['9.9.9.9'], AAAA: [] };
        const changes: Record<AddressType, number[]> = { A: [], AAAA: [] };
        const looks: { type: AddressType; address: string }[] = [];
        for (const step of steps) {
          nowMs += step.afterMs;
          if (step.foreign !== null) records.A = step.foreign;
          state = withSighting(state, { A: step.A, AAAA: step.AAAA }, nowMs);
          for (const type of addressTypes) {
            const seen = step[type];
            if (seen !== null) looks.push({ type, address: seen });
            const published = step.blind ? { A: null, AAAA: null } : records;
            const decision = decide(state, type, published, nowMs);
            if (decision.kind !== 'publish') continue;
            // A look that knows nothing of the records changes none.
            expect(step.blind).toBe(false);
            const ofType = looks.filter((one) => one.type === type).slice(-2);
            expect(ofType).toEqual([
              { type, address: decision.address },
              { type, address: decision.address },
            ]);
            expect(records[type]).not.toContain(decision.address);
            expect(records[type].length).toBeLessThanOrEqual(1);
            if (step.fails) {
              state = withFailure(state, nowMs);
              continue;
            }
            const last = changes[type].at(-1);
            if (last !== undefined) expect(nowMs - last).toBeGreaterThanOrEqual(addressTimes.betweenChanges);
            changes[type].push(nowMs);
            records[type] = [decision.address];
            state = withChange(state, type, nowMs);
          }
          const wait = nextLookMs(state, [], nowMs);
          expect(wait).toBeGreaterThanOrEqual(addressTimes.lookAgain);
          expect(wait).toBeLessThanOrEqual(addressTimes.look);
        }
      }),
    );
  });

  test('two addresses that take turns are never published', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20 * 60_000 }), { maxLength: 50 }), (pauses) => {
        let state = initialState(0);
        let nowMs = 0;
        for (const [index, pause] of pauses.entries()) {
          nowMs += pause;
          state = withSighting(state, { A: index % 2 === 0 ? '1.1.1.1' : '2.2.2.2' }, nowMs);
          expect(decide(state, 'A', { A: ['3.3.3.3'], AAAA: [] }, nowMs)).toEqual({ kind: 'keep' });
        }
      }),
    );
  });
});
