import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type AccountStore, openAccountStore } from '../../../appliance/accounts/store.ts';
import { type Clock, systemClock } from '../../../appliance/base/clock.ts';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { createLog } from '../../../appliance/base/log.ts';
import {
  connectDoveadm,
  decodeFields,
  DoveadmError,
  encodeCommand,
} from '../../../appliance/doveadm/client.ts';
import { createExpiry, type Expiry } from '../../../appliance/expiry/expiry.ts';
import { type FakeDoveadm, startFakeDoveadm } from '../../fakes/doveadm-server.ts';

const nowMs = 20_000 * 86_400_000;
const signal = new AbortController().signal;
let directory = '';
let socketPath = '';
let store: AccountStore;
let logged: string[];
let answer: (user: string, command: string, args: readonly string[]) => string;
let doveadm: FakeDoveadm;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'expiry-'));
  socketPath = join(directory, 'doveadm');
  store = openAccountStore(':memory:');
  logged = [];
  answer = () => '\n+\n';
  doveadm = await startFakeDoveadm({ socketPath, answer: (...command) => answer(...command) });
});
afterEach(async () => {
  await doveadm[Symbol.asyncDispose]();
  store.close();
  await rm(directory, { recursive: true });
});

const expiry = (clock: Partial<Clock> = {}): Expiry =>
  createExpiry({
    socketPath,
    accounts: store,
    rules: () => ({ deleteAfterDays: 20, deleteLargeAfterDays: 7, quotaBytes: 1000, deleteInactiveDays: 90 }),
    homeOf: (address) => `/data/mail/x/${address}`,
    clock: { ...systemClock, wallMs: () => nowMs, ...clock },
    log: createLog('expiry', (line) => logged.push(line), 'debug'),
    random: () => 0.5,
  });

describe('doveadm codec', () => {
  test('writes commands and reads fields', () => {
    expect(encodeCommand('a@x', 'fetch', ['uid', 'mailbox', '*'])).toBe('\ta@x\tfetch\tuid\tmailbox\t*\n');
    expect(encodeCommand('', 'x', ['tab\there'])).toBe('\t\tx\ttab\u0001there\n');
    expect(() => encodeCommand('a\0b', 'x', [])).toThrow(RangeError);
    expect(decodeFields('')).toEqual([]);
    expect(decodeFields('1\t\t3\u0001t\t')).toEqual(['1', '', '3\t']);
    expect(() => decodeFields('1\t2')).toThrow(ProtocolError);
  });
});

describe('connectDoveadm', () => {
  test('runs commands one after the other, and names the reason of a failure', async () => {
    answer = (user) => (user === 'nobody' ? '\n-NOUSER\n' : `${user}\tfield\t\n+\n`);
    using client = await connectDoveadm(socketPath, signal);
    expect(await client.run('one', 'quota get', [])).toEqual(['one', 'field']);
    await expect(client.run('nobody', 'quota get', [])).rejects.toMatchObject({ reason: 'NOUSER' });
    await expect(client.run('nobody', 'quota get', [])).rejects.toThrow(DoveadmError);
    expect(await client.run('two', 'quota get', [])).toEqual(['two', 'field']);
  });

  test('gives up where a password is wanted', async () => {
    const path = join(directory, 'locked');
    await using _locked = await startFakeDoveadm({ socketPath: path, answer: () => '', greeting: '-\n' });
    await expect(connectDoveadm(path, signal)).rejects.toThrow('0600');
  });

  test('takes the version line of a newer Dovecot', async () => {
    const path = join(directory, 'newer');
    const greeting = 'VERSION\tdoveadm-client\t1\t3\n+\n';
    await using _newer = await startFakeDoveadm({ socketPath: path, answer: () => '\n+\n', greeting });
    using client = await connectDoveadm(path, signal);
    expect(await client.run('a', 'b', [])).toEqual([]);
  });

  test('ends a command under way when told to stop', async () => {
    const stop = new AbortController();
    answer = () => {
      stop.abort();
      return '';
    };
    using client = await connectDoveadm(socketPath, stop.signal);
    await expect(client.run('a', 'b', [])).rejects.toThrow('Stopped');
    await expect(connectDoveadm(socketPath, stop.signal)).rejects.toThrow('aborted');
  });

  test('fails where nobody listens', async () => {
    await expect(connectDoveadm(join(directory, 'nowhere'), signal)).rejects.toThrow('ENOENT');
  });
});

describe('sweep', () => {
  test('expires old and large mail of every account and trims to 70 % of the quota', async () => {
    store.create('a@x', 'hash', 20_000);
    store.create('b@x', 'hash', 20_000);
    const oldSec = nowMs / 1000 - 3 * 86_400;
    answer = (user, command) =>
      command === 'fetch' && user === 'b@x'
        ? `g1\t1\t200\t${oldSec}\tg1\t2\t200\t${oldSec + 1}\tg2\t7\t500\t${oldSec + 2}\t\n+\n`
        : '\n+\n';
    await expiry().sweep(signal);
    const rules = (user: string) => [
      [user, 'expunge', 'mailbox', '*', 'BEFORE', '20d'],
      [user, 'expunge', 'mailbox', '*', 'LARGER', '200000', 'BEFORE', '7d', 'NOT', 'RECENT'],
      [user, 'fetch', 'mailbox-guid uid size.virtual date.received.unixtime', 'mailbox', '*'],
    ];
    expect(doveadm.commands).toEqual([
      ...rules('a@x'),
      ...rules('b@x'),
      ['b@x', 'expunge', 'mailbox-guid', 'g1', 'UID', '1'],
    ]);
  });

  test('removes the files of inactive accounts, then the accounts', async () => {
    store.create('old@x', 'hash', 20_000 - 91);
    store.create('new@x', 'hash', 20_000 - 90);
    await expiry().sweep(signal);
    expect(doveadm.commands[0]).toEqual(['', 'fs delete', '-R', 'fs', '/data/mail/x/old@x']);
    expect(store.find('old@x')).toBeNull();
    expect(store.find('new@x')).not.toBeNull();
  });

  test('removes an account that never had files, and keeps one whose files it could not remove', async () => {
    store.create('gone@x', 'hash', 1);
    store.create('kept@x', 'hash', 2);
    answer = (_, command, args) => {
      if (command === 'fs delete') return '\n-TEMPFAIL\n';
      if (command === 'fs stat' && args.at(-1)?.includes('gone')) return '\n-NOTFOUND\n';
      return '\n+\n';
    };
    await expiry().sweep(signal);
    expect(store.find('gone@x')).toBeNull();
    expect(store.find('kept@x')).not.toBeNull();
  });

  test('goes on after a mailbox that cannot be opened, and logs no address', async () => {
    store.create('broken@x', 'hash', 20_000);
    store.create('fine@x', 'hash', 20_000);
    answer = (user) => (user === 'broken@x' ? '\n-TEMPFAIL\n' : '\n+\n');
    await expiry().sweep(signal);
    expect(doveadm.commands.filter(([user]) => user === 'fine@x')).toHaveLength(3);
    expect(logged.at(-1)).toContain('"accounts":1,"failed":1');
    expect(logged.join()).not.toContain('@');
  });
});

describe('runDaily', () => {
  test('waits for the start to be over, then sweeps daily, and sooner after a failure', async () => {
    const stop = new AbortController();
    const delays: number[] = [];
    const sleep = async (ms: number) => {
      delays.push(ms);
      if (delays.length === 2) await doveadm[Symbol.asyncDispose]();
      if (delays.length === 4) stop.abort();
      stop.signal.throwIfAborted();
    };
    await expiry({ sleep }).runDaily(stop.signal);
    expect(delays.map((ms) => ms / 60_000)).toEqual([35, 1440, 60, 60]);
  });
});

describe('trim', () => {
  test('trims one mailbox once, however often it is asked at a time', async () => {
    store.create('a@x', 'hash', 20_000);
    const one = expiry();
    await Promise.all([one.trim('a@x', signal), one.trim('a@x', signal)]);
    expect(doveadm.commands).toHaveLength(1);
    await one.trim('a@x', signal);
    expect(doveadm.commands).toHaveLength(2);
  });

  test('refuses output it cannot read', async () => {
    answer = () => 'g1\t1\t-\t5\t\n+\n';
    await expect(expiry().trim('a@x', signal)).rejects.toThrow(ProtocolError);
    answer = () => 'g1\t1\t\n+\n';
    await expect(expiry().trim('a@x', signal)).rejects.toThrow(ProtocolError);
  });
});
