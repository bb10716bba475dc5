import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { CertificateFacts } from '../../../appliance/acme/credentials.ts';
import { emptyHistory, type History } from '../../../appliance/acme/history.ts';
import {
  afterFailure,
  afterInstall,
  afterIssue,
  lifetimeRenewalMs,
  namesToOrder,
  pauseMs,
  type PlanInput,
  planNext,
  renewalAfter,
  selectTimeMs,
} from '../../../appliance/acme/plan.ts';

const hour = 3_600_000;
const day = 24 * hour;
const now = Date.UTC(2026, 10, 21);
const directory = 'https://authority.example/directory';
const name = 'chat.example.org';
const extras = [`www.${name}`, `mta-sts.${name}`];

const certificate: CertificateFacts = {
  names: [name, ...extras],
  notBeforeMs: now - 10 * day,
  notAfterMs: now + 80 * day,
  isOwn: false,
  issuer: 'Authority',
  fingerprint: 'AA:BB',
  renewalId: 'key.serial',
};
const history: History = { ...emptyHistory('subject'), issued: { fingerprint: 'AA:BB', directory } };
const input: PlanInput = {
  source: 'acme',
  directory,
  name,
  extraNames: extras,
  current: certificate,
  waiting: undefined,
  history,
  nowMs: now,
};

describe('planNext', () => {
  test('does nothing where the relay signs for itself', () => {
    expect(planNext({ ...input, source: 'self-signed', current: undefined })).toEqual({ kind: 'idle' });
  });

  test.each([
    ['none', undefined, 'first'],
    ['one that we have signed', { ...certificate, isOwn: true }, 'first'],
    ['one for another name', { ...certificate, names: ['other.example.org'] }, 'other-name'],
    ['one that has ended', { ...certificate, notAfterMs: now }, 'expired'],
  ] as const)('orders at once when there is %s, and names none that it replaces', (_, current, reason) => {
    expect(planNext({ ...input, current })).toEqual({ kind: 'order', reason });
  });

  test('waits until two thirds of the lifetime, and half of that of a short one', () => {
    expect(planNext(input)).toEqual({ kind: 'wait', untilMs: now + 50 * day, reason: 'renewal' });
    const short = { ...certificate, notBeforeMs: now, notAfterMs: now + 6 * day };
    expect(planNext({ ...input, current: short })).toMatchObject({ untilMs: now + 3 * day });
    expect(lifetimeRenewalMs({ ...short, notAfterMs: now + 10 * day })).toBe(now + 5 * day);
    expect(lifetimeRenewalMs({ ...short, notAfterMs: now + 45 * day })).toBe(now + 30 * day);
  });

  test('goes by the authority’s window where there is one for this certificate', () => {
    const renewal = { fingerprint: 'AA:BB', startMs: now + day, endMs: now + 2 * day, selectedMs: now + day };
    expect(planNext({ ...input, history: { ...history, renewal } })).toMatchObject({ untilMs: now + day });
    const other = { ...renewal, fingerprint: 'CC' };
    expect(planNext({ ...input, history: { ...history, renewal: other } })).toMatchObject({
      untilMs: now + 50 * day,
    });
  });

  test('replaces at once what is called back, and says which', () => {
    const renewal = { fingerprint: 'AA:BB', startMs: now - 2 * day, endMs: now - day, selectedMs: now - day };
    expect(planNext({ ...input, history: { ...history, renewal } })).toEqual({
      kind: 'order',
      reason: 'called-back',
      replaces: 'key.serial',
    });
    expect(planNext({ ...input, nowMs: now + 51 * day })).toMatchObject({ reason: 'renewal' });
  });

  test('orders anew from another authority, which knows nothing of the certificate', () => {
    expect(planNext({ ...input, directory: 'https://other.example/directory' })).toEqual({
      kind: 'order',
      reason: 'other-authority',
    });
  });

  test('takes in names that have come to lead here, unless they were refused a while ago', () => {
    const current = { ...certificate, names: [name] };
    expect(planNext({ ...input, current })).toMatchObject({ kind: 'order', reason: 'more-names' });
    expect(planNext({ ...input, current, extraNames: [] })).toMatchObject({ kind: 'wait' });
    const refused = Object.fromEntries(extras.map((extra) => [extra, now + hour]));
    const after = { ...input, current, history: { ...history, leftOutUntilMs: refused } };
    expect(planNext(after)).toMatchObject({ kind: 'wait' });
    expect(namesToOrder(after)).toEqual([name]);
    expect(planNext({ ...after, nowMs: now + hour })).toMatchObject({ kind: 'order' });
  });

  test('puts to use what was issued before it orders anything', () => {
    const waiting = { ...certificate, fingerprint: 'CC' };
    expect(planNext({ ...input, current: undefined, waiting })).toEqual({ kind: 'install' });
    expect(planNext({ ...input, waiting, name: 'other.example.org' })).toMatchObject({ kind: 'order' });
    expect(planNext({ ...input, waiting, nowMs: waiting.notAfterMs })).toMatchObject({ kind: 'order' });
    const elsewhere = { ...history, issued: { fingerprint: 'CC', directory: 'https://other.example/' } };
    expect(planNext({ ...input, waiting, history: elsewhere })).toMatchObject({ kind: 'wait' });
  });

  test('rests after a failure, whatever is due, and not for ever when the clock was wrong', () => {
    const failed = afterFailure(history, { message: 'm', fix: 'f' }, now, 0);
    expect(planNext({ ...input, current: undefined, history: failed })).toEqual({
      kind: 'wait',
      untilMs: now + 15 * 60_000,
      reason: 'retry',
    });
    const back = { ...input, current: undefined, history: failed, nowMs: now - 400 * day };
    expect(planNext(back)).toMatchObject({ kind: 'order' });
  });

  test('never waits in the past, and never beyond the end of the certificate', () => {
    const times = fc.integer({ min: now - 200 * day, max: now + 200 * day });
    fc.assert(
      fc.property(
        times,
        times,
        times,
        times,
        fc.nat(20),
        (notBeforeMs, notAfterMs, selectedMs, nowMs, failures) => {
          fc.pre(notAfterMs > notBeforeMs);
          const current = { ...certificate, notBeforeMs, notAfterMs };
          const renewal = { fingerprint: 'AA:BB', startMs: selectedMs, endMs: selectedMs + 1, selectedMs };
          const failed =
            failures === 0 ? history : { ...history, failures, notBeforeMs: nowMs + pauseMs(failures, 1) };
          for (const known of [failed, { ...failed, renewal }]) {
            const plan = planNext({ ...input, current, nowMs, history: known });
            if (plan.kind !== 'wait') continue;
            expect(plan.untilMs).toBeGreaterThan(nowMs);
            if (plan.reason === 'retry') expect(plan.untilMs).toBeLessThanOrEqual(nowMs + 15 * hour);
            else if (known.renewal === undefined) expect(plan.untilMs).toBeLessThan(notAfterMs);
          }
        },
      ),
    );
  });
});

describe('renewalAfter', () => {
  const window = { startMs: now, endMs: now + day };

  test('draws a moment within the window, and keeps it while the window stays', () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (random) => {
        const selected = selectTimeMs(window, random);
        expect(selected).toBeGreaterThanOrEqual(window.startMs);
        expect(selected).toBeLessThan(window.endMs);
      }),
    );
    const first = renewalAfter(window, 'AA', undefined, 0.25);
    expect(first.selectedMs).toBe(now + 6 * hour);
    expect(renewalAfter(window, 'AA', first, 0.75).selectedMs).toBe(first.selectedMs);
    expect(renewalAfter(window, 'BB', first, 0.75).selectedMs).toBe(now + 18 * hour);
    const moved = { ...window, endMs: now + 2 * day };
    expect(renewalAfter(moved, 'AA', first, 0.75).selectedMs).toBe(now + 36 * hour);
  });
});

describe('afterFailure', () => {
  test('pauses twice as long each time, up to half a day and a quarter', () => {
    const pauses = Array.from({ length: 10 }, (_, index) => pauseMs(index + 1, 0) / 60_000);
    expect(pauses).toEqual([15, 30, 60, 120, 240, 480, 720, 720, 720, 720]);
    expect(pauseMs(1, 0.999)).toBeLessThan(15 * 60_000 * 1.25);
  });

  test('comes back no sooner than the authority wants, within a week or so', () => {
    const failure = { message: 'm', fix: 'f', retryAfterMs: now + 3 * day };
    expect(afterFailure(history, failure, now, 0).notBeforeMs).toBe(now + 3 * day);
    const never = { ...failure, retryAfterMs: now + 4000 * day };
    expect(afterFailure(history, never, now, 0).notBeforeMs).toBe(now + 8 * day);
  });

  test('asks for a new key when the authority does not take the one there is, until one is issued', () => {
    const failed = afterFailure(history, { message: 'm', fix: 'f', newKey: true }, now, 0);
    expect(failed.newKey).toBe(true);
    expect(afterFailure(failed, { message: 'm', fix: 'f' }, now, 0).newKey).toBe(true);
    const issued = { fingerprint: 'DD', directory, proven: {}, leftOut: [`www.${name}`] };
    const after = afterIssue(failed, issued, now);
    expect(after).toMatchObject({ newKey: false, leftOutUntilMs: { [`www.${name}`]: now + day } });
    // Failures end with its use, not before: one that cannot be put to use must not be ordered in a circle.
    expect(after.failures).toBe(1);
    expect(afterInstall(after)).toEqual({
      ...history,
      issued: { fingerprint: 'DD', directory },
      leftOutUntilMs: after.leftOutUntilMs,
    });
  });
});
