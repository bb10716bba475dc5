import { describe, expect, test } from 'vitest';
import { announceAfterMs, createAnnouncer } from '../../../appliance/announce/announcer.ts';
import { silentLog } from '../../../appliance/base/log.ts';
import type { Clock } from '../../../appliance/base/clock.ts';

/** Time that passes only when somebody sleeps. */
function sleepyClock(): Clock & { now: number } {
  return {
    now: 0,
    monotonicMs() {
      return this.now;
    },
    wallMs() {
      return this.now;
    },
    async sleep(ms, signal) {
      signal?.throwIfAborted();
      await Promise.resolve();
      this.now += ms;
    },
  };
}

function setUp(touchOne: (path: string) => Promise<void> = async () => {}) {
  const clock = sleepyClock();
  const touched: { path: string; atMs: number }[] = [];
  const announcer = createAnnouncer({
    touch: async (path) => {
      touched.push({ path, atMs: clock.now });
      await touchOne(path);
    },
    homeOf: (address) => `/mail/${address}`,
    clock,
    log: silentLog,
  });
  return { announcer, touched };
}

describe('createAnnouncer', () => {
  test('touches the mailbox a moment after a delivery, in a name that Maildir skips', async () => {
    const { announcer, touched } = setUp();
    announcer.announce('a@x');
    await expect.poll(() => touched).toEqual([{ path: '/mail/a@x/new/.announced', atMs: announceAfterMs }]);
  });

  test('touches once for a burst, after its end, and each account by itself', async () => {
    const { announcer, touched } = setUp();
    for (const address of ['a@x', 'a@x', 'b@x', 'a@x']) announcer.announce(address);
    await expect
      .poll(() => touched.map(({ path }) => path))
      .toEqual(['/mail/b@x/new/.announced', '/mail/a@x/new/.announced']);
  });

  test('goes on after a failure', async () => {
    const { announcer, touched } = setUp(async (path) => {
      if (path.includes('a@x')) throw new Error('no such directory');
    });
    announcer.announce('a@x');
    announcer.announce('b@x');
    await expect.poll(() => touched).toHaveLength(2);
    announcer.announce('a@x');
    await expect.poll(() => touched).toHaveLength(3);
  });

  test('forgets what waits when it is disposed', async () => {
    const { announcer, touched } = setUp();
    announcer.announce('a@x');
    await announcer[Symbol.asyncDispose]();
    announcer.announce('b@x');
    await Promise.resolve();
    expect(touched).toEqual([]);
  });
});
