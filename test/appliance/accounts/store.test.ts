import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { schemaVersion } from '../../../appliance/accounts/schema.ts';
import {
  type AccountStore,
  maxTokensPerAccount,
  openAccountStore,
} from '../../../appliance/accounts/store.ts';
import { pushTokenLifetimeDays } from '../../../appliance/contract/retention.ts';

const alice = 'alice.123@chat.example.org';
const bob = 'bob.12345@chat.example.org';
const today = 20_000;

describe('openAccountStore', () => {
  let directory = '';
  const file = () => join(directory, 'accounts.sqlite');
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'store-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  test('keeps accounts over a restart and leaves one file', async () => {
    const store = openAccountStore(file());
    expect(store.create(alice, 'hash', today)).toBe(true);
    store.close();
    expect(await readdir(directory)).toEqual(['accounts.sqlite']);
    const again = openAccountStore(file());
    expect(again.find(alice)).toEqual({
      address: alice,
      passwordHash: 'hash',
      createdDay: today,
      lastLoginDay: today,
      disabled: false,
    });
    again.close();
  });

  test('opens a file that a newer program has added to, as after an update was rolled back', () => {
    openAccountStore(file()).close();
    const newer = new DatabaseSync(file());
    newer.exec(
      `ALTER TABLE accounts ADD COLUMN nickname TEXT; CREATE TABLE extra (x); PRAGMA user_version = ${schemaVersion + 1}`,
    );
    newer.close();
    const store = openAccountStore(file());
    expect(store.create(alice, 'hash', today)).toBe(true);
    expect(store.find(alice)?.passwordHash).toBe('hash');
    store.close();
    const check = new DatabaseSync(file());
    expect(check.prepare('PRAGMA user_version').get()).toEqual({ user_version: schemaVersion + 1 });
    check.close();
  });

  test('starts anew after being killed in the middle of its first migration', () => {
    const half = new DatabaseSync(file());
    half.exec('BEGIN IMMEDIATE; CREATE TABLE accounts (x); ROLLBACK');
    half.close();
    const store = openAccountStore(file());
    expect(store.count()).toBe(0);
    store.close();
  });
});

describe('accounts in the store', () => {
  let store: AccountStore;
  beforeEach(() => {
    store = openAccountStore(':memory:');
  });
  afterEach(() => store.close());

  test('are created once', () => {
    expect(store.create(alice, 'first', today)).toBe(true);
    expect(store.create(alice, 'second', today)).toBe(false);
    expect(store.find(alice)?.passwordHash).toBe('first');
    expect(store.find(bob)).toBeNull();
    expect(store.count()).toBe(1);
  });

  test('remember the day of the last sign-in, and never an earlier one', () => {
    store.create(alice, 'hash', today);
    const login = (day: number) => {
      const account = store.find(alice);
      if (account !== null) store.noteLogin(account, day);
    };
    login(today + 3);
    login(today + 1);
    expect(store.find(alice)?.lastLoginDay).toBe(today + 3);
  });

  test('can be disabled, get a new hash, and be removed with everything', () => {
    store.create(alice, 'hash', today);
    store.addToken(alice, 'token', today);
    store.addPendingPush({ address: alice, token: 'token', firstSec: 1, dueSec: 2, attempts: 1 });
    expect(store.setDisabled(alice, true)).toBe(true);
    store.setPasswordHash(alice, 'new');
    expect(store.find(alice)).toMatchObject({ disabled: true, passwordHash: 'new' });
    expect(store.setDisabled(bob, true)).toBe(false);
    expect(store.remove(alice)).toBe(true);
    expect(store.remove(alice)).toBe(false);
    expect(store.countPendingPushes()).toBe(0);
    store.create(alice, 'other', today);
    expect(store.tokens(alice, today)).toEqual([]);
  });

  test('are walked in pages and found when inactive', () => {
    for (const [index, name] of ['a', 'b', 'c'].entries()) store.create(`${name}@x`, 'hash', today + index);
    expect(store.addressesAfter('', 2)).toEqual(['a@x', 'b@x']);
    expect(store.addressesAfter('b@x', 2)).toEqual(['c@x']);
    expect(store.inactiveSince(today + 2, 10)).toEqual(['a@x', 'b@x']);
    expect(store.inactiveSince(today + 2, 1)).toEqual(['a@x']);
  });
});

describe('push tokens in the store', () => {
  let store: AccountStore;
  beforeEach(() => {
    store = openAccountStore(':memory:');
    store.create(alice, 'hash', today);
  });
  afterEach(() => store.close());

  test('come back in the order they came in, also after being renewed', () => {
    store.addToken(alice, '2222', today);
    store.addToken(alice, '1111', today);
    store.addToken(alice, '2222', today + 1);
    expect(store.tokens(alice, today + 1)).toEqual(['2222', '1111']);
  });

  test('are not kept for an address without account', () => {
    store.addToken(bob, 'token', today);
    expect(store.tokens(bob, today)).toEqual([]);
  });

  test('live ninety days after the last renewal', () => {
    store.addToken(alice, 'old', today);
    store.addToken(alice, 'new', today + 1);
    expect(store.tokens(alice, today + pushTokenLifetimeDays - 1)).toEqual(['old', 'new']);
    expect(store.tokens(alice, today + pushTokenLifetimeDays)).toEqual(['new']);
    store.addToken(alice, 'newest', today + pushTokenLifetimeDays);
    expect(store.tokens(alice, today)).toEqual(['new', 'newest']);
  });

  test('give way to newer ones beyond the limit', () => {
    for (let index = 0; index < maxTokensPerAccount + 2; index += 1)
      store.addToken(alice, `t${index}`, today);
    const tokens = store.tokens(alice, today);
    expect(tokens).toHaveLength(maxTokensPerAccount);
    expect(tokens[0]).toBe('t2');
  });

  test('can be removed', () => {
    store.addToken(alice, 'gone', today);
    store.removeToken(alice, 'gone');
    expect(store.tokens(alice, today)).toEqual([]);
  });
});

describe('pending notifications in the store', () => {
  test('are found when due, once for each token, with the time of the first', () => {
    const store = openAccountStore(':memory:');
    expect(store.nextPushSec()).toBeNull();
    store.addPendingPush({ address: alice, token: 't', firstSec: 100, dueSec: 108, attempts: 1 });
    store.addPendingPush({ address: alice, token: 't', firstSec: 105, dueSec: 170, attempts: 2 });
    store.addPendingPush({ address: alice, token: 'u', firstSec: 105, dueSec: 113, attempts: 1 });
    expect(store.nextPushSec()).toBe(113);
    expect(store.pendingPushes(112, 10)).toEqual([]);
    expect(store.pendingPushes(170, 10)).toEqual([
      { address: alice, token: 'u', firstSec: 105, dueSec: 113, attempts: 1 },
      { address: alice, token: 't', firstSec: 100, dueSec: 170, attempts: 2 },
    ]);
    expect(store.pendingPushes(170, 1)).toHaveLength(1);
    store.removePendingPush('u');
    expect(store.countPendingPushes()).toBe(1);
    store.close();
  });
});
