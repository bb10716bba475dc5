import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backOffAfter, backOffMs, startOrder, stopOrder } from '../../../appliance/supervise/plan.ts';

const service = (name: string, ...needs: string[]) => ({ name, needs });
const names = (steps: readonly (readonly { name: string }[])[]) =>
  steps.map((step) => step.map(({ name }) => name));

describe('startOrder', () => {
  test('starts what is needed first, and together what can start together', () => {
    const table = [
      service('postfix', 'relay', 'unbound'),
      service('dovecot', 'relay'),
      service('relay'),
      service('unbound'),
    ];
    expect(names(startOrder(table))).toEqual([
      ['relay', 'unbound'],
      ['postfix', 'dovecot'],
    ]);
    expect(names(stopOrder(table))).toEqual([
      ['postfix', 'dovecot'],
      ['relay', 'unbound'],
    ]);
  });

  test('refuses a circle, a double, an unknown need and a name that is no file name', () => {
    expect(() => startOrder([service('a', 'b'), service('b', 'a')])).toThrow('in a circle: a, b');
    expect(() => startOrder([service('a'), service('a')])).toThrow('twice');
    expect(() => startOrder([service('a', 'b')])).toThrow('a needs b');
    expect(() => startOrder([service('../a')])).toThrow('no service name');
  });

  test('never starts a service before one it needs, whatever the table', () => {
    const tables = fc
      .integer({ min: 1, max: 12 })
      .chain((count) =>
        fc.tuple(
          ...Array.from({ length: count }, (_, index) =>
            fc
              .subarray(Array.from({ length: index }, (__, below) => `s${below}`))
              .map((needs) => service(`s${index}`, ...needs)),
          ),
        ),
      );
    fc.assert(
      fc.property(tables, (table) => {
        const seen = new Set<string>();
        for (const step of startOrder(table)) {
          for (const { needs } of step) expect(needs.every((need) => seen.has(need))).toBe(true);
          for (const { name } of step) seen.add(name);
        }
        expect(seen.size).toBe(table.length);
      }),
    );
  });
});

describe('backOffAfter', () => {
  test('is under two seconds for the first five deaths, grows, and ends at a minute', () => {
    expect(Math.max(...[1, 2, 3, 4, 5].map((failures) => backOffAfter(failures)))).toBeLessThan(2000);
    expect(backOffAfter(1000)).toBe(60_000);
    expect(backOffMs.toSorted((a, b) => a - b)).toEqual([...backOffMs]);
  });
});
