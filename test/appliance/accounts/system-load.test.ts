import { tmpdir } from 'node:os';
import { describe, expect, test } from 'vitest';
import { findShortage, readSystemLoad, type SystemLoad } from '../../../appliance/accounts/system-load.ts';

const gigabyte = 1e9;
const idle: SystemLoad = {
  load1m: 0.1,
  cpuCount: 1,
  memoryBytes: 4 * gigabyte,
  memoryAvailableBytes: 2 * gigabyte,
  diskBytes: 30 * gigabyte,
  diskAvailableBytes: 20 * gigabyte,
};

describe('findShortage', () => {
  test('finds nothing on an idle machine', () => {
    expect(findShortage(idle)).toBeNull();
  });

  test.each([
    [{ load1m: 5.1 }, 'load'],
    [{ memoryAvailableBytes: 199e6 }, 'memory'],
    [{ diskAvailableBytes: 0.99 * gigabyte }, 'disk'],
  ])('finds %j short', (change, shortage) => {
    expect(findShortage({ ...idle, ...change })).toBe(shortage);
  });

  test('counts the load for each CPU', () => {
    expect(findShortage({ ...idle, load1m: 19, cpuCount: 4 })).toBeNull();
    expect(findShortage({ ...idle, load1m: 21, cpuCount: 4 })).toBe('load');
  });

  test('is content with a tenth on a small board', () => {
    const board = { ...idle, memoryBytes: 0.5 * gigabyte, diskBytes: 3 * gigabyte };
    expect(
      findShortage({ ...board, memoryAvailableBytes: 60e6, diskAvailableBytes: 0.4 * gigabyte }),
    ).toBeNull();
    expect(findShortage({ ...board, memoryAvailableBytes: 40e6 })).toBe('memory');
    expect(findShortage({ ...board, diskAvailableBytes: 0.2 * gigabyte })).toBe('disk');
  });
});

describe.skipIf(process.platform !== 'linux')('readSystemLoad', () => {
  test('reads this machine', async () => {
    const load = await readSystemLoad(tmpdir());
    expect(load.load1m).toBeGreaterThanOrEqual(0);
    expect(load.memoryAvailableBytes).toBeGreaterThan(1e6);
    expect(load.memoryBytes).toBeGreaterThanOrEqual(load.memoryAvailableBytes);
    expect(load.diskBytes).toBeGreaterThanOrEqual(load.diskAvailableBytes);
  });
});
