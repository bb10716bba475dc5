import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { openAccountStore, type AccountStore } from '../../../appliance/accounts/store.ts';
import { systemClock } from '../../../appliance/base/clock.ts';
import { silentLog } from '../../../appliance/base/log.ts';
import {
  createNotifier,
  dropAfterSec,
  type Notifier,
  type PostToken,
  retryDelaySec,
} from '../../../appliance/push/notifier.ts';

const alice = 'alice.123@chat.example.org';
const startMs = 20_000 * 86_400_000;

let store: AccountStore;
let posted: string[];
let statuses: (number | Error)[];
let notifier: Notifier;

const post: PostToken = async (token) => {
  posted.push(token);
  const status = statuses.shift() ?? 200;
  if (status instanceof Error) throw status;
  return status;
};

const start = (poster: PostToken = post) =>
  createNotifier({ store, post: poster, clock: systemClock, log: silentLog });

beforeEach(() => {
  vi.useFakeTimers({ now: startMs, toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  store = openAccountStore(':memory:');
  store.create(alice, 'hash', 20_000);
  posted = [];
  statuses = [];
  notifier = start();
});
afterEach(async () => {
  await notifier[Symbol.asyncDispose]();
  store.close();
  vi.useRealTimers();
});

/** Lets `seconds` pass, with everything that falls due meanwhile. */
async function pass(seconds: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(seconds * 1000);
  await notifier.idle();
}

describe('retryDelaySec', () => {
  test('waits 8, 64, 512 and 4096 seconds, and gives up before five hours are over', () => {
    const delays = [];
    let nowSec = 0;
    for (let attempts = 1; ; attempts += 1) {
      const delaySec = retryDelaySec({ firstSec: 0, attempts }, nowSec);
      if (delaySec === null) break;
      delays.push(delaySec);
      nowSec += delaySec;
    }
    expect(delays).toEqual([8, 64, 512, 4096]);
    expect(nowSec).toBeLessThan(dropAfterSec);
  });
});

describe('createNotifier', () => {
  test('posts every token of an account once and stores nothing', async () => {
    store.addToken(alice, 'one', 20_000);
    store.addToken(alice, 'two', 20_000);
    notifier.notify(alice);
    notifier.notify('nobody@chat.example.org');
    await notifier.idle();
    expect(posted.toSorted()).toEqual(['one', 'two']);
    expect(store.countPendingPushes()).toBe(0);
    expect(notifier.counts.delivered).toBe(2);
  });

  test('forgets a token whose device is gone', async () => {
    store.addToken(alice, 'gone', 20_000);
    store.addToken(alice, 'here', 20_000);
    statuses = [410, 200];
    notifier.notify(alice);
    await notifier.idle();
    expect(store.tokens(alice, 20_000)).toEqual(['here']);
  });

  test('tries again after 8 and 64 seconds, for a bad status and a broken line alike', async () => {
    store.addToken(alice, 'token', 20_000);
    statuses = [500, new Error('connect ECONNREFUSED')];
    notifier.notify(alice);
    await notifier.idle();
    expect(store.countPendingPushes()).toBe(1);
    await pass(7);
    expect(posted).toHaveLength(1);
    await pass(1);
    expect(posted).toHaveLength(2);
    await pass(64);
    expect(posted).toHaveLength(3);
    expect(store.countPendingPushes()).toBe(0);
    expect(notifier.counts).toMatchObject({ delivered: 1, retried: 2 });
  });

  test('drops what could not be delivered within five hours', async () => {
    store.addToken(alice, 'token', 20_000);
    statuses = Array.from({ length: 100 }, () => 503);
    notifier.notify(alice);
    await notifier.idle();
    await pass(dropAfterSec + 120);
    expect(posted).toHaveLength(5);
    expect(store.countPendingPushes()).toBe(0);
    expect(notifier.counts.dropped).toBe(1);
  });

  test('goes on after a restart with what was waiting', async () => {
    store.addToken(alice, 'token', 20_000);
    statuses = [500];
    notifier.notify(alice);
    await notifier.idle();
    await notifier[Symbol.asyncDispose]();
    expect(store.countPendingPushes()).toBe(1);
    notifier = start();
    await pass(8);
    expect(posted).toEqual(['token', 'token']);
    expect(store.countPendingPushes()).toBe(0);
  });

  test('stores what it was about to post when it is stopped', async () => {
    store.addToken(alice, 'token', 20_000);
    notifier = start(
      (_, signal) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(new Error('aborted'))),
        ),
    );
    notifier.notify(alice);
    await notifier[Symbol.asyncDispose]();
    expect(store.pendingPushes(startMs / 1000, 10)).toMatchObject([{ token: 'token', attempts: 0 }]);
  });

  test('wakes a phone once for messages that come while its turn has not come', async () => {
    const gates: (() => void)[] = [];
    notifier = start((token) => {
      posted.push(token);
      return new Promise((resolve) => gates.push(() => resolve(200)));
    });
    // Sixteen posts are under way at most: the others wait.
    for (let index = 0; index < 17; index += 1) {
      const address = `user${index}@chat.example.org`;
      store.create(address, 'hash', 20_000);
      store.addToken(address, `token${index}`, 20_000);
      notifier.notify(address);
    }
    notifier.notify('user16@chat.example.org');
    notifier.notify('user16@chat.example.org');
    expect(posted).toHaveLength(16);
    while (gates.length > 0) {
      gates.shift()?.();
      await vi.advanceTimersByTimeAsync(0);
    }
    await notifier.idle();
    expect(posted.filter((token) => token === 'token16')).toHaveLength(1);
  });
});
