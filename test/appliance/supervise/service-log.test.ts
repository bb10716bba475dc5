import { mkdtempDisposable, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../appliance/base/clock.ts';
import { defaultLogLimits, ServiceLog } from '../../../appliance/supervise/service-log.ts';

const clock = { ...systemClock, wallMs: () => Date.UTC(2026, 0, 2, 3, 4, 5, 6) };
const directory = () => mkdtempDisposable(join(tmpdir(), 'service-log-'));

describe('ServiceLog', () => {
  test('keeps lines from before the disk was there, and stamps them', async () => {
    await using temporary = await directory();
    const path = join(temporary.path, 'x.log');
    const log = new ServiceLog(clock);
    log.push('early');
    await log.open(path);
    log.push('late');
    await log.flush();
    expect(await readFile(path, 'utf8')).toBe(
      '2026-01-02T03:04:05.006Z early\n2026-01-02T03:04:05.006Z late\n',
    );
  });

  test('never holds more than two generations of the size given', async () => {
    await using temporary = await directory();
    const path = join(temporary.path, 'x.log');
    const log = new ServiceLog(clock, { ...defaultLogLimits, maxFileBytes: 1000 });
    await log.open(path);
    for (let index = 0; index < 100; index += 1) {
      log.push(`line ${index}`);
      await log.flush();
    }
    expect((await readdir(temporary.path)).toSorted()).toEqual(['x.log', 'x.log.1']);
    expect((await stat(path)).size).toBeLessThanOrEqual(1000);
    expect((await stat(`${path}.1`)).size).toBeLessThanOrEqual(1000);
    expect(await readFile(path, 'utf8')).toContain('line 99');
  });

  test('changes lines for the disk, and keeps them as they are in memory', async () => {
    await using temporary = await directory();
    const path = join(temporary.path, 'x.log');
    const log = new ServiceLog(clock, defaultLogLimits, (line) => line.replace('alice', '…'));
    log.push('early alice');
    await log.open(path);
    log.push('alice is here');
    await log.flush();
    expect(await readFile(path, 'utf8')).toMatch(/Z early …\n.*Z … is here\n$/);
    expect(log.recent().join('\n')).toMatch(/Z early alice\n.*Z alice is here$/);
  });

  test('appends to the file of the boot before', async () => {
    await using temporary = await directory();
    const path = join(temporary.path, 'x.log');
    await writeFile(path, 'before\n');
    const log = new ServiceLog(clock);
    await log.open(path);
    log.push('after');
    await log.flush();
    expect(await readFile(path, 'utf8')).toMatch(/^before\n.* after\n$/);
  });

  test('bounds what it keeps in memory while there is no disk, and says what was lost', async () => {
    await using temporary = await directory();
    const log = new ServiceLog(clock, { ...defaultLogLimits, maxPendingBytes: 100, maxRecentBytes: 100 });
    for (let index = 0; index < 100; index += 1) log.push(`line ${index}`);
    expect(log.recent().join('').length).toBeLessThanOrEqual(100);
    expect(log.recent(1)).toEqual(['2026-01-02T03:04:05.006Z line 99']);
    const path = join(temporary.path, 'x.log');
    await log.open(path);
    expect(await readFile(path, 'utf8')).toMatch(/\(9\d lines were dropped here\)\n$/);
  });

  test('survives a directory that is gone', async () => {
    const log = new ServiceLog(clock);
    await log.open('/nonexistent/x.log');
    log.push('error: nobody hears me');
    await log.flush();
    expect(log.recent(1)[0]).toContain('nobody hears me');
  });
});
