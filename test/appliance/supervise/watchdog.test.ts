import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../../appliance/base/clock.ts';
import { createLog, silentLog } from '../../../appliance/base/log.ts';
import { isSwitchedOff, shouldFeed, startWatchdog } from '../../../appliance/supervise/watchdog.ts';

/** Time that passes only when the test says so: each sleep waits for `tick`. */
function manualClock() {
  let nowMs = 0;
  let wake = Promise.withResolvers<void>();
  return {
    clock: {
      ...systemClock,
      monotonicMs: () => nowMs,
      sleep: (ms: number, signal?: AbortSignal) =>
        Promise.race([
          wake.promise.then(() => void (nowMs += ms)),
          new Promise<void>((_, reject) => {
            signal?.addEventListener('abort', () => reject(new Error('aborted')), { once: true });
          }),
        ]),
    },
    tick: async () => {
      wake.resolve();
      wake = Promise.withResolvers<void>();
      // File writes take a few turns.
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

describe('shouldFeed', () => {
  test('feeds through a short illness, and not through a long one', () => {
    expect(shouldFeed(1000, 0, 1001)).toBe(true);
    expect(shouldFeed(1001, 0, 1001)).toBe(false);
  });
});

describe('isSwitchedOff', () => {
  test('takes the one word, and nothing that looks like it', () => {
    expect(isSwitchedOff('ro chatmail.watchdog=off panic=5\n')).toBe(true);
    for (const line of ['', 'chatmail.watchdog=60', 'chatmail.watchdog=offset', 'x.chatmail.watchdog=off']) {
      expect(isSwitchedOff(line)).toBe(false);
    }
  });
});

describe('startWatchdog', () => {
  test('leaves it alone when the kernel command line says so', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'watchdog-'));
    const [device, commandLine] = [join(directory.path, 'watchdog0'), join(directory.path, 'cmdline')];
    await writeFile(device, '');
    await writeFile(commandLine, 'panic=5 chatmail.watchdog=off\n');
    const { clock } = manualClock();
    const options = { clock, log: silentLog, isHealthy: () => true, device, commandLine };
    expect(await startWatchdog(options)).toBeUndefined();
    expect(await readFile(device, 'latin1')).toBe('');
  });

  test('feeds while healthy, starves it when not, and disarms it at the end', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'watchdog-'));
    const device = join(directory.path, 'watchdog0');
    await writeFile(device, '');
    const { clock, tick } = manualClock();
    let isHealthy = true;
    const said: string[] = [];
    const watchdog = await startWatchdog({
      clock,
      log: createLog('', (line) => said.push(line)),
      isHealthy: () => isHealthy,
      graceMs: 10_000,
      device,
    });
    const feeds = async () => (await readFile(device, 'latin1')).length;
    await expect.poll(feeds).toBe(1);
    await tick();
    await expect.poll(feeds).toBe(2);
    isHealthy = false;
    await tick();
    await expect.poll(feeds).toBe(3);
    await tick();
    await tick();
    expect(await feeds()).toBe(3);
    expect(said.join('\n')).toContain('will reset the machine');
    await watchdog?.[Symbol.asyncDispose]();
    expect(await readFile(device, 'latin1')).toBe('\0\0\0V');
  });

  test('is content where there is none', async () => {
    const options = {
      clock: systemClock,
      log: silentLog,
      isHealthy: () => true,
      device: '/nonexistent/watchdog',
    };
    expect(await startWatchdog(options)).toBeUndefined();
  });
});
