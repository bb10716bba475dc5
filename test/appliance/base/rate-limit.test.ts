import { describe, expect, test } from 'vitest';
import { RateLimiter } from '../../../appliance/base/rate-limit.ts';

function limiter(options: { perMinute?: number; burst?: number; maxKeys?: number } = {}) {
  const clock = { nowMs: 5_000, monotonicMs: () => clock.nowMs };
  return { clock, limits: new RateLimiter({ perMinute: 60, burst: 10, clock, ...options }) };
}

describe('RateLimiter', () => {
  test('takes a burst at once, then one a second', () => {
    const { clock, limits } = limiter();
    const sent = () => {
      let count = 0;
      while (limits.take('alice') === 0) count++;
      return count;
    };
    expect(sent()).toBe(10);
    clock.nowMs += 999;
    expect(sent()).toBe(0);
    clock.nowMs += 1;
    expect(sent()).toBe(1);
    clock.nowMs += 3500;
    expect(sent()).toBe(3);
    clock.nowMs += 3_600_000;
    expect(sent()).toBe(10);
  });

  test('says how long to wait, and neither asking nor being refused costs anything', () => {
    const { clock, limits } = limiter({ perMinute: 6, burst: 1 });
    for (let attempt = 0; attempt < 100; attempt++) expect(limits.waitMs('alice')).toBe(0);
    expect(limits.take('alice')).toBe(0);
    expect(limits.waitMs('alice')).toBe(10_000);
    clock.nowMs += 4000;
    for (let attempt = 0; attempt < 100; attempt++) expect(limits.take('alice')).toBe(6000);
    clock.nowMs += 6000;
    expect(limits.take('alice')).toBe(0);
  });

  test('senders do not share', () => {
    const { limits } = limiter({ burst: 1 });
    expect(limits.take('alice')).toBe(0);
    expect(limits.take('bob')).toBe(0);
    expect(limits.take('alice')).toBeGreaterThan(0);
  });

  test('forgets senders who are even again, and holds no more than it may', () => {
    const { clock, limits } = limiter({ maxKeys: 100 });
    for (let sender = 0; sender < 1000; sender++) limits.take(`sender${sender}`);
    expect(limits.size).toBe(100);
    clock.nowMs += 60_000;
    limits.take('alice');
    expect(limits.size).toBe(1);
  });

  test.each([{ perMinute: 0 }, { burst: 0 }, { perMinute: Number.NaN }])('refuses %o', (options) => {
    expect(() => limiter(options)).toThrow(RangeError);
  });
});
