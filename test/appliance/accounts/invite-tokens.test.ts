import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createHashQueue } from '../../../appliance/accounts/hash-queue.ts';
import { startInviteTokenServer } from '../../../appliance/accounts/invite-token-server.ts';
import { createInviteTokens, type InviteTokens } from '../../../appliance/accounts/invite-tokens.ts';
import { createAccounts } from '../../../appliance/accounts/login.ts';
import { type AccountStore, openAccountStore } from '../../../appliance/accounts/store.ts';
import type { Shortage } from '../../../appliance/accounts/system-load.ts';
import { silentLog } from '../../../appliance/base/log.ts';
import { parseConfig, type ConfigDocument } from '../../../appliance/contract/config.ts';
import { createInviteTokenClient } from '../../../appliance/web/invite-token-client.ts';

const once3 = 'three-accounts';
const single = 'single_account';
const dated = 'until-new-year';
const client = '192.0.2.7';
const domain = 'chat.example.org';

let store: AccountStore;
let accounts: NonNullable<ConfigDocument['accounts']>;
let nowMs: number;
let shortage: Shortage | null;
let inviteTokens: InviteTokens;
let options: Parameters<typeof createInviteTokens>[0];

beforeEach(() => {
  store = openAccountStore(':memory:');
  nowMs = Date.UTC(2027, 11, 31, 23, 59);
  shortage = null;
  accounts = {
    create: 'token',
    tokens: [{ token: once3, uses: 3 }, { token: single }, { token: dated, expires: '2027-12-31' }],
  };
  let parsed = parseConfig({ domain, accounts });
  let parsedFrom = accounts;
  options = {
    store,
    config: () => {
      if (parsedFrom !== accounts) parsed = parseConfig({ domain, accounts });
      parsedFrom = accounts;
      return parsed;
    },
    hashes: createHashQueue({ concurrency: 2, maxWaiting: 4 }),
    findShortage: async () => shortage,
    clock: { monotonicMs: () => nowMs, wallMs: () => nowMs, sleep: async () => {} },
    log: silentLog,
  };
  inviteTokens = createInviteTokens(options);
});
afterEach(() => store.close());

const redeem = (token: string, from = client) => inviteTokens.redeem({ token, client: from });
const check = (token: string, from = client) => inviteTokens.check({ token, client: from });
const refused = (reason: string) => ({ kind: 'refused', reason });

describe('createInviteTokens', () => {
  test('makes an account that signs in, where a first login alone makes none', async () => {
    const made = await redeem(single);
    if (made.kind !== 'created') throw new Error(`Not created: ${made.reason}`);
    const login = createAccounts(options);
    expect(await login.login(`${made.localpart}@${domain}`, made.password)).toMatchObject({
      kind: 'accepted',
      created: false,
    });
    expect(await login.login(`stranger1@${domain}`, made.password)).toEqual({ kind: 'denied' });
    expect(store.count()).toBe(1);
  });

  test('makes as many as the token is good for, and says when it is used up', async () => {
    for (let use = 0; use < 3; use += 1) {
      expect(check(once3)).toEqual({ kind: 'valid' });
      expect(await redeem(once3)).toMatchObject({ kind: 'created' });
    }
    expect(check(once3)).toEqual(refused('used-up'));
    expect(await redeem(once3)).toEqual(refused('used-up'));
    expect(store.count()).toBe(3);
    accounts = { ...accounts, tokens: [{ token: once3, uses: 4 }] };
    expect(await redeem(once3)).toMatchObject({ kind: 'created' });
  });

  test('makes no more when many ask at the same time', async () => {
    const outcomes = await Promise.all(Array.from({ length: 6 }, () => redeem(once3)));
    expect(outcomes.filter(({ kind }) => kind === 'created')).toHaveLength(3);
    expect(outcomes.filter(({ kind }) => kind === 'refused')).toEqual(Array(3).fill(refused('used-up')));
    expect(store.count()).toBe(3);
  });

  test('takes a token until the end of its last day', async () => {
    expect(check(dated)).toEqual({ kind: 'valid' });
    nowMs += 60_000;
    expect(check(dated)).toEqual(refused('expired'));
    expect(await redeem(dated)).toEqual(refused('expired'));
  });

  test('a wrong token costs its client ten tries, and nobody else anything', async () => {
    for (let attempt = 0; attempt < 5; attempt += 1) {
      expect(check(`wrong-token-${attempt}`)).toEqual(refused('unknown'));
      expect(await redeem('')).toEqual(refused('unknown'));
    }
    expect(check(single)).toEqual(refused('busy'));
    expect(check(single, '2001:db8::')).toEqual({ kind: 'valid' });
    nowMs += 60_000;
    expect(check(single)).toEqual({ kind: 'valid' });
  });

  test.each(['open', 'closed'] as const)('takes none where accounts are %s', async (create) => {
    accounts = { ...accounts, create };
    expect(check(single)).toEqual(refused('closed'));
    expect(await redeem(single)).toEqual(refused('closed'));
  });

  test('uses nothing up while the machine is short of anything, or has too many to hash for', async () => {
    shortage = 'disk';
    expect(await redeem(single)).toEqual(refused('unavailable'));
    shortage = null;
    const outcomes = await Promise.all(Array.from({ length: 7 }, () => redeem(single)));
    expect(outcomes.filter(({ kind }) => kind === 'created')).toHaveLength(1);
    expect(outcomes).toContainEqual(refused('unavailable'));
    expect(store.count()).toBe(1);
  });

  test('tries another name where one is taken', async () => {
    accounts = { ...accounts, localpartMin: 1, localpartMax: 1, tokens: [{ token: once3, uses: 8 }] };
    for (let use = 0; use < 8; use += 1) expect(await redeem(once3)).toMatchObject({ kind: 'created' });
    expect(store.count()).toBe(8);
  });
});

describe('createWithToken', () => {
  const token = { digest: 'd'.repeat(64), maxUses: 2 };

  test('counts a use only with an account', () => {
    expect(store.createWithToken(token, `alice@${domain}`, 'hash', 5)).toBe('created');
    expect(store.createWithToken(token, `alice@${domain}`, 'other', 5)).toBe('taken');
    expect(store.tokenUses(token.digest)).toBe(1);
    expect(store.find(`alice@${domain}`)).toMatchObject({ passwordHash: 'hash', createdDay: 5 });
    expect(store.createWithToken(token, `bob@${domain}`, 'hash', 5)).toBe('created');
    expect(store.createWithToken(token, `carol@${domain}`, 'hash', 5)).toBe('used-up');
    expect(store.count()).toBe(2);
  });

  test('an account that is deleted gives no use back', () => {
    store.createWithToken(token, `alice@${domain}`, 'hash', 5);
    store.remove(`alice@${domain}`);
    expect(store.tokenUses(token.digest)).toBe(1);
  });

  test.each([200, 333])(
    'keeps accounts and uses together when the process is killed at %d',
    async (count) => {
      const directory = await mkdtemp(join(tmpdir(), 'tokens-'));
      try {
        const path = join(directory, 'accounts.sqlite');
        const maker = spawn(process.execPath, [join(import.meta.dirname, 'fixtures/token-maker.ts'), path], {
          stdio: ['ignore', 'pipe', 'ignore'],
        });
        let made = 0;
        for await (const chunk of maker.stdout as AsyncIterable<Buffer>) {
          made += chunk.length;
          if (made > count) maker.kill('SIGKILL');
        }
        const after = openAccountStore(path);
        expect(after.count()).toBeGreaterThan(count);
        expect(after.tokenUses(token.digest)).toBe(after.count());
        after.close();
      } finally {
        await rm(directory, { recursive: true });
      }
    },
  );
});

describe('startInviteTokenServer', () => {
  let directory: string;
  let socketPath: string;
  let server: AsyncDisposable;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tokens-'));
    socketPath = join(directory, 'accounts.sock');
    server = await startInviteTokenServer({ socketPath, inviteTokens, log: silentLog });
  });
  afterEach(async () => {
    await server[Symbol.asyncDispose]();
    await rm(directory, { recursive: true });
  });

  const { signal } = new AbortController();

  test('answers the web server', async () => {
    const web = createInviteTokenClient(socketPath);
    expect(await web.check({ token: single, client }, signal)).toEqual({ kind: 'valid' });
    expect(await web.redeem({ token: single, client }, signal)).toMatchObject({
      kind: 'created',
      localpart: expect.stringMatching(/^[a-z2-9]{9}$/),
      password: expect.stringMatching(/^[a-z2-9]{22}$/),
    });
    expect(await web.check({ token: single, client }, signal)).toEqual(refused('used-up'));
  });

  async function ask(method: string, path: string, body: string): Promise<number | undefined> {
    const outgoing = httpRequest({ socketPath, method, path, agent: false });
    outgoing.end(body);
    const [response] = await once(outgoing, 'response');
    response.resume();
    return response.statusCode;
  }

  test.each([
    ['GET', '/check', ''],
    ['POST', '/check', '{'],
    ['POST', '/check', JSON.stringify({ token: single })],
    ['POST', '/check', JSON.stringify({ token: single, client, more: 1 })],
    ['POST', '/other', JSON.stringify({ token: single, client })],
    ['POST', '/accounts', JSON.stringify({ token: 'x'.repeat(5000), client })],
  ])('refuses what is no question: %s %s %s', async (method, path, body) => {
    expect(await ask(method, path, body)).toBe(400);
    expect(store.count()).toBe(0);
  });

  test('a client without a server fails and does not wait', async () => {
    await server[Symbol.asyncDispose]();
    await expect(
      createInviteTokenClient(socketPath).check({ token: single, client }, signal),
    ).rejects.toThrow(/ENOENT|ECONNREFUSED/);
  });
});
