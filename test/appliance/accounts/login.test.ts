import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createHashQueue, type HashQueue } from '../../../appliance/accounts/hash-queue.ts';
import { type Accounts, createAccounts } from '../../../appliance/accounts/login.ts';
import { hashPassword, isOutdatedHash } from '../../../appliance/accounts/password.ts';
import { type AccountStore, openAccountStore } from '../../../appliance/accounts/store.ts';
import type { Shortage } from '../../../appliance/accounts/system-load.ts';
import { systemClock } from '../../../appliance/base/clock.ts';
import { createLog } from '../../../appliance/base/log.ts';
import { parseConfig } from '../../../appliance/contract/config.ts';

const alice = 'alice.123@chat.example.org';
const password = 'correct horse';
const dayMs = 86_400_000;

let store: AccountStore;
let accounts: Accounts;
let document: { domain: string; accounts?: object };
let shortage: Shortage | null;
let nowMs: number;
let hashCount: number;
let logged: string[];

beforeEach(() => {
  document = { domain: 'chat.example.org' };
  shortage = null;
  nowMs = 20_000 * dayMs;
  hashCount = 0;
  logged = [];
  store = openAccountStore(':memory:');
  accounts = withQueue(createHashQueue({ concurrency: 2, maxWaiting: 100 }));
});
afterEach(() => store.close());

function withQueue(queue: HashQueue): Accounts {
  return createAccounts({
    store,
    config: () => parseConfig(document),
    hashes: {
      run: (task) => {
        hashCount += 1;
        return queue.run(task);
      },
    },
    findShortage: async () => shortage,
    clock: { ...systemClock, wallMs: () => nowMs },
    log: createLog('accounts', (line) => logged.push(line), 'info'),
  });
}

/** The outcome and how many hashes it cost. */
async function cost(username: string, secret: string) {
  const before = hashCount;
  const { kind } = await accounts.login(username, secret);
  return { kind, hashes: hashCount - before };
}

describe('login', () => {
  test('says yes to a new account only once it would survive a power cut', async () => {
    const onDisk = Promise.withResolvers<void>();
    const flushing = Promise.withResolvers<void>();
    store.flush = () => {
      flushing.resolve();
      return onDisk.promise;
    };
    let answered = false;
    const login = accounts.login(alice, password).finally(() => {
      answered = true;
    });
    await flushing.promise;
    expect(answered).toBe(false);
    onDisk.resolve();
    expect(await login).toMatchObject({ kind: 'accepted', created: true });
  });

  test('creates the account the first time and takes the same password from then on', async () => {
    expect(await accounts.login(alice, password)).toEqual({
      kind: 'accepted',
      address: alice,
      created: true,
    });
    expect(await accounts.login(alice, password)).toEqual({
      kind: 'accepted',
      address: alice,
      created: false,
    });
    expect(await accounts.login(alice.toUpperCase(), password)).toMatchObject({ address: alice });
    expect(await accounts.login(alice, 'wrong horse')).toEqual({ kind: 'denied' });
    expect(accounts.counts).toMatchObject({ accepted: 3, denied: 1, created: 1 });
  });

  test('names no address in its log', async () => {
    await accounts.login(alice, password);
    expect(logged).toHaveLength(1);
    expect(logged.join()).not.toContain('alice');
  });

  test('makes one account, and one hash, of ten first logins at once', async () => {
    const outcomes = await Promise.all(Array.from({ length: 10 }, () => accounts.login(alice, password)));
    expect(outcomes.every(({ kind }) => kind === 'accepted')).toBe(true);
    expect(store.count()).toBe(1);
    expect(hashCount).toBe(1);
  });

  test('gives the address to one of two who want it with different passwords', async () => {
    const outcomes = await Promise.all([
      accounts.login(alice, password),
      accounts.login(alice, 'other horse'),
    ]);
    expect(outcomes.map(({ kind }) => kind).toSorted()).toEqual(['accepted', 'denied']);
    expect(store.count()).toBe(1);
  });

  test('remembers a success for a while, yet not over a change of password', async () => {
    await accounts.login(alice, password);
    expect(await cost(alice, password)).toEqual({ kind: 'accepted', hashes: 0 });
    nowMs += 11 * 60_000;
    expect(await cost(alice, password)).toEqual({ kind: 'accepted', hashes: 1 });
    store.setPasswordHash(alice, await hashPassword('another horse'));
    expect(await cost(alice, password)).toEqual({ kind: 'denied', hashes: 1 });
    expect(await cost(alice, 'another horse')).toEqual({ kind: 'accepted', hashes: 1 });
  });

  test('notes the day of each sign-in, also of a remembered one', async () => {
    await accounts.login(alice, password);
    nowMs += 5 * 60_000;
    nowMs += dayMs - (nowMs % dayMs);
    await accounts.login(alice, password);
    expect(store.find(alice)?.lastLoginDay).toBe(20_001);
  });

  test('brings an old hash up to date', async () => {
    store.create(alice, await hashPassword(password, { memoryKib: 64, passes: 1, parallelism: 1 }), 1);
    expect(await accounts.login(alice, password)).toMatchObject({ kind: 'accepted' });
    expect(isOutdatedHash(store.find(alice)?.passwordHash ?? '')).toBe(false);
    expect(await cost(alice, password)).toEqual({ kind: 'accepted', hashes: 0 });
  });

  test('turns a disabled account away, remembered or not', async () => {
    await accounts.login(alice, password);
    store.setDisabled(alice, true);
    expect(await cost(alice, password)).toEqual({ kind: 'denied', hashes: 1 });
    store.setDisabled(alice, false);
    expect(await accounts.login(alice, password)).toMatchObject({ kind: 'accepted' });
  });

  test('keeps taking accounts that newer rules would not create', async () => {
    await accounts.login(alice, password);
    document = {
      ...document,
      accounts: { create: 'closed', localpartMin: 20, localpartMax: 20, passwordMin: 50 },
    };
    nowMs += dayMs;
    expect(await accounts.login(alice, password)).toMatchObject({ kind: 'accepted' });
  });
});

describe('what a failed login tells', () => {
  const unknown = 'bobby.123@chat.example.org';

  test('with creation closed: the same for known and unknown addresses, at the same cost', async () => {
    await accounts.login(alice, password);
    document = { ...document, accounts: { create: 'closed' } };
    expect(await cost(alice, 'wrong horse')).toEqual({ kind: 'denied', hashes: 1 });
    expect(await cost(unknown, 'wrong horse')).toEqual({ kind: 'denied', hashes: 1 });
    expect(await cost('alice@elsewhere.org', 'wrong horse')).toEqual({ kind: 'denied', hashes: 1 });
    expect(store.count()).toBe(1);
  });

  test('with a password too short for an account: the same', async () => {
    await accounts.login(alice, password);
    expect(await cost(alice, 'short')).toEqual({ kind: 'denied', hashes: 1 });
    expect(await cost(unknown, 'short')).toEqual({ kind: 'denied', hashes: 1 });
  });

  test('with the machine overloaded: come again later, for known and unknown; the right password works', async () => {
    await accounts.login(alice, password);
    shortage = 'memory';
    expect(await cost(alice, 'wrong horse')).toEqual({ kind: 'unavailable', hashes: 1 });
    expect(await cost(unknown, 'wrong horse')).toEqual({ kind: 'unavailable', hashes: 1 });
    expect(await cost(alice, 'short')).toEqual({ kind: 'denied', hashes: 1 });
    expect(await accounts.login(alice, password)).toMatchObject({ kind: 'accepted' });
    expect(store.count()).toBe(1);
  });

  test('with too many checks waiting: come again later', async () => {
    accounts = withQueue(createHashQueue({ concurrency: 1, maxWaiting: 0 }));
    const [first, second] = await Promise.all([
      accounts.login(alice, password),
      accounts.login(unknown, password),
    ]);
    expect(first).toMatchObject({ kind: 'accepted' });
    expect(second).toEqual({ kind: 'unavailable' });
  });

  test('without a password or with an endless one: denied', async () => {
    expect(await accounts.login(alice, '')).toEqual({ kind: 'denied' });
    expect(await accounts.login(alice, 'x'.repeat(100_000))).toEqual({ kind: 'denied' });
  });
});

describe('lookup', () => {
  test('finds accounts by any spelling, and disabled ones only where asked to', async () => {
    await accounts.login(alice, password);
    expect(accounts.lookup('ALICE.123@CHAT.example.org')).toBe(alice);
    expect(accounts.lookup('nobody123@chat.example.org')).toBeNull();
    expect(accounts.lookup('alice.123@elsewhere.org')).toBeNull();
    store.setDisabled(alice, true);
    expect(accounts.lookup(alice)).toBe(alice);
    expect(accounts.lookup(alice, { enabledOnly: true })).toBeNull();
  });
});
