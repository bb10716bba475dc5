import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeUidSet, planTrim, type StoredMessage } from '../../../appliance/expiry/plan.ts';

const nowSec = 1_000_000_000;
const day = 86_400;
const message = (uid: number, sizeBytes: number, ageDays: number): StoredMessage => ({
  mailbox: 'guid',
  uid,
  sizeBytes,
  receivedSec: nowSec - ageDays * day,
});

describe('planTrim', () => {
  test('takes the oldest until the rest fits, whatever their order', () => {
    const messages = [message(3, 100, 2), message(1, 100, 9), message(2, 100, 5)];
    const uids = planTrim(messages, { targetBytes: 150, nowSec }).map(({ uid }) => uid);
    expect(uids).toEqual([1, 2]);
  });

  test('leaves a mailbox alone that fits', () => {
    expect(planTrim([message(1, 100, 9)], { targetBytes: 100, nowSec })).toEqual([]);
    expect(planTrim([], { targetBytes: 0, nowSec })).toEqual([]);
  });

  test('never takes what is younger than a day', () => {
    const messages = [message(1, 100, 1.01), message(2, 100, 0.99), message(3, 100, 0)];
    expect(planTrim(messages, { targetBytes: 0, nowSec })).toEqual([messages[0]]);
  });

  test('takes no more than is needed', () => {
    const arbitrary = fc.array(
      fc.tuple(fc.nat({ max: 1000 }), fc.nat({ max: 30 })).map(([size, age]) => ({ size, age })),
    );
    fc.assert(
      fc.property(arbitrary, fc.nat({ max: 5000 }), (mails, targetBytes) => {
        const messages = mails.map(({ size, age }, uid) => message(uid, size, age));
        const chosen = planTrim(messages, { targetBytes, nowSec });
        const total = (some: readonly StoredMessage[]) =>
          some.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
        if (chosen.length > 0) {
          expect(total(messages) - total(chosen.slice(0, -1))).toBeGreaterThan(targetBytes);
        }
        const youngest = Math.max(...chosen.map(({ receivedSec }) => receivedSec));
        const kept = messages.filter((one) => !chosen.includes(one));
        expect(kept.every(({ receivedSec }) => receivedSec >= youngest)).toBe(true);
      }),
    );
  });
});

describe('encodeUidSet', () => {
  test.each([
    [[], ''],
    [[7], '7'],
    [[3, 1, 2], '1:3'],
    [[1, 2, 4, 6, 7, 8], '1:2,4,6:8'],
  ])('writes %j as %j', (uids, text) => {
    expect(encodeUidSet(uids)).toBe(text);
  });
});
