import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chooseTime, isClockless } from '../../../appliance/clock/choose-time.ts';
import { readAdjtimexStatus } from '../../../appliance/clock/synchronised.ts';

const day = 86_400_000;
const built = '2026-11-01T00:00:00Z';
const builtMs = Date.parse(built);

describe('chooseTime', () => {
  test('believes a clock that is later than all that is known', () => {
    expect(chooseTime(builtMs + 5 * day, String((builtMs + day) / 1000), built)).toBe(builtMs + 5 * day);
  });

  test('gives a board without a clock the time saved last, or the day of its build', () => {
    expect(chooseTime(0, `${(builtMs + day) / 1000}\n`, built)).toBe(builtMs + day);
    expect(chooseTime(0, undefined, built)).toBe(builtMs);
    expect(chooseTime(0, String(builtMs / 1000 - 1), built)).toBe(builtMs);
    expect(isClockless(0, builtMs)).toBe(true);
    expect(isClockless(builtMs, builtMs)).toBe(false);
  });

  test('is not fooled by a file that holds nonsense, or a time in another century', () => {
    for (const saved of ['', 'x', '-5', '1e9', '999999999999', '12345678901234567890']) {
      expect(chooseTime(1000, saved, undefined)).toBe(1000);
    }
    expect(chooseTime(1000, undefined, 'yesterday')).toBe(1000);
  });

  test('never goes backwards, whatever is in the files', () => {
    fc.assert(
      fc.property(fc.nat(), fc.option(fc.string(), { nil: undefined }), fc.string(), (now, saved, date) => {
        expect(chooseTime(now, saved, date)).toBeGreaterThanOrEqual(now);
      }),
    );
  });
});

describe('readAdjtimexStatus', () => {
  test('reads the kernel’s flag out of what busybox prints', () => {
    expect(readAdjtimexStatus('    mode:         0\n    status:       64 (UNSYNC)\n')).toBe(false);
    expect(readAdjtimexStatus('    mode:         0\n    status:       8193 (PLL)\n')).toBe(true);
    expect(readAdjtimexStatus('    mode:         0\n    status:       0\n')).toBe(true);
    expect(readAdjtimexStatus('adjtimex: no')).toBe(false);
  });
});
