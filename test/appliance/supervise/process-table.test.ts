import { describe, expect, test } from 'vitest';
import {
  decodeProcessStat,
  isAlive,
  readProcessStat,
  sessionMembers,
} from '../../../appliance/supervise/process-table.ts';

const line =
  '4242 (odd) name (x)) S 17 4242 4200 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 2703360 100 18446744073709551615 1 1';

describe('decodeProcessStat', () => {
  test('reads past a name with spaces and parentheses', () => {
    expect(decodeProcessStat(line)).toEqual({
      pid: 4242,
      state: 'S',
      parentPid: 17,
      processGroup: 4242,
      session: 4200,
      startTicks: 987654,
    });
  });

  test('gives undefined for a line cut anywhere before the start time is whole', () => {
    const end = line.indexOf('987654');
    for (let length = 0; length <= end; length += 1) {
      const stat = decodeProcessStat(line.slice(0, length));
      expect(stat === undefined || stat.startTicks === 0).toBe(true);
    }
  });
});

describe.skipIf(process.platform !== 'linux')('isAlive', () => {
  test('knows this process, and not one of the same number started at another time', () => {
    const own = readProcessStat(process.pid);
    expect(own?.parentPid).toBe(process.ppid);
    expect(isAlive(process.pid, own?.startTicks ?? 0)).toBe(true);
    expect(isAlive(process.pid, (own?.startTicks ?? 0) + 1)).toBe(false);
    expect(sessionMembers(own?.session ?? 0)).toContain(process.pid);
  });
});
