/** In which order services start and stop, and how long a crashed one waits. Pure. */
import type { Service } from './service.ts';

type Node = Pick<Service, 'name' | 'needs'>;

/**
 * Services in the order in which they may start, in steps: all of one step at the same time.
 * @throws RangeError for a bad or double name, an unknown need, or needs that go in a circle
 */
export function startOrder<T extends Node>(services: readonly T[]): readonly (readonly T[])[] {
  const names = new Set<string>();
  for (const { name } of services) {
    if (!/^[a-z][a-z0-9-]{0,31}$/.test(name))
      throw new RangeError(`${JSON.stringify(name)} is no service name`);
    if (names.has(name)) throw new RangeError(`The service ${name} is there twice`);
    names.add(name);
  }
  for (const { name, needs } of services) {
    for (const need of needs) {
      if (!names.has(need)) throw new RangeError(`${name} needs ${need}, which is no service`);
    }
  }
  const steps: T[][] = [];
  const placed = new Set<string>();
  while (placed.size < services.length) {
    const step = services.filter(
      ({ name, needs }) => !placed.has(name) && needs.every((need) => placed.has(need)),
    );
    if (step.length === 0) {
      const left = services.filter(({ name }) => !placed.has(name)).map(({ name }) => name);
      throw new RangeError(`These services need each other in a circle: ${left.join(', ')}`);
    }
    steps.push(step);
    for (const { name } of step) placed.add(name);
  }
  return steps;
}

/** Services in the order in which they stop: nobody loses what it needs while it still runs. */
export function stopOrder<T extends Node>(services: readonly T[]): readonly (readonly T[])[] {
  return startOrder(services).toReversed();
}

/**
 * Waits before the first, second … restart in a row. The first ones are short: a single death must be
 * over within two seconds. The last one repeats.
 */
export const backOffMs = [100, 250, 500, 1000, 1500, 3000, 6000, 15_000, 30_000, 60_000] as const;

/** A service that ran so long is healthy again: its next death is a first one. */
export const healthyAfterMs = 30_000;

/** How long to wait before restarting a service that has ended `failures` times in a row (≥ 1). */
export function backOffAfter(failures: number, schedule: readonly number[] = backOffMs): number {
  return schedule[Math.min(Math.max(failures, 1), schedule.length) - 1] ?? 0;
}
