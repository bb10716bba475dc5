import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createHttpChallenges, createTlsAlpnChallenges } from '../../../appliance/acme/challenges.ts';
import { ensureAccount, readHistory, writeHistory } from '../../../appliance/acme/history.ts';
import { createCertificateKeeper, readAccountUrl } from '../../../appliance/acme/keeper.ts';
import { orderRequest } from '../../../appliance/acme/order-request.ts';
import { emptyHistory } from '../../../appliance/acme/history.ts';
import { findExtraNames, type LookUp } from '../../../appliance/acme/preflight.ts';
import type { Clock } from '../../../appliance/base/clock.ts';
import { silentLog } from '../../../appliance/base/log.ts';
import { makeSelfSigned } from '../../../appliance/boot/certificate.ts';
import { type ConfigDocument, parseConfig } from '../../../appliance/contract/config.ts';
import { makeTestAuthority } from '../../fixtures/acme/authority.ts';

const name = 'chat.example.org';
const start = Date.UTC(2026, 10, 21);
const day = 86_400_000;
/** Nobody listens there. */
const directory = 'https://127.0.0.1:1/directory';
const found: LookUp = { kind: 'found', addresses: ['192.0.2.1'] };

/** Time passes while somebody sleeps; the first sleep beyond `until` ends the run. */
function clockUntil(until: number, stop: AbortController): Clock & { readonly sleeps: number[] } {
  let nowMs = start;
  const sleeps: number[] = [];
  return {
    sleeps,
    monotonicMs: () => nowMs,
    wallMs: () => nowMs,
    sleep: async (ms) => {
      sleeps.push(ms);
      nowMs += ms;
      if (nowMs > until) stop.abort();
    },
  };
}

describe('createCertificateKeeper', () => {
  let scratch = '';
  let paths = { tlsCredentials: '', acme: '' };
  beforeEach(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'keeper-'));
    paths = { tlsCredentials: join(scratch, 'relay.pem'), acme: join(scratch, 'acme') };
    await mkdir(paths.acme);
  });
  afterEach(() => rm(scratch, { recursive: true, force: true }));

  async function runFor(
    ms: number,
    document: Partial<ConfigDocument>,
    lookUp: LookUp = found,
    program = 'process.exit(1);',
  ) {
    const orderProgram = join(scratch, 'program.mjs');
    await writeFile(orderProgram, program);
    const stop = new AbortController();
    const clock = clockUntil(start + ms, stop);
    const keeper = createCertificateKeeper({
      config: parseConfig({ domain: name, ...document, tls: { directory, ...document.tls } }),
      paths,
      orderProgram,
      challenges: { http: createHttpChallenges(), tlsAlpn: createTlsAlpnChallenges() },
      reload: async () => {},
      ports: [],
      log: silentLog,
      clock,
      random: () => 0,
      lookUp: async () => lookUp,
    });
    await keeper.run(stop.signal);
    return { status: keeper.status(), sleeps: clock.sleeps };
  }

  test('leaves a relay alone that signs for itself, and looks no more than once an hour', async () => {
    const own = await makeSelfSigned(parseConfig({ domain: '_chat.example.org' }).domain, start);
    await writeFile(paths.tlsCredentials, own.keyPem + own.certificatePem);
    const { status, sleeps } = await runFor(day, { domain: '_chat.example.org' });
    expect(status).toMatchObject({ state: 'self-signed', problems: [] });
    expect(sleeps.every((ms) => ms === 3_600_000)).toBe(true);
  });

  test('waits for a name to have an address, ever longer, and asks no authority', async () => {
    const { status, sleeps } = await runFor(3_600_000, {}, { kind: 'none' }, 'throw new Error();');
    expect(status).toMatchObject({
      state: 'missing',
      lastFailure: { message: `${name} has no address in the DNS yet` },
    });
    const pauses = sleeps.filter((ms) => ms > 0);
    expect(pauses.slice(0, 7)).toEqual([15, 30, 60, 120, 240, 480, 600].map((seconds) => seconds * 1000));
    await expect(readFile(join(paths.acme, 'history.json'))).rejects.toThrow('ENOENT');
  });

  test('puts to use what was issued before the power failed, without an order', async () => {
    const pem = makeTestAuthority().issue({
      names: [name],
      notBeforeMs: start - day,
      notAfterMs: start + 80 * day,
    });
    await writeFile(join(paths.acme, 'relay.next.pem'), pem);
    const { status } = await runFor(60_000, {}, { kind: 'failed', reason: 'SERVFAIL' }, 'throw new Error();');
    expect(status).toMatchObject({ state: 'valid', issuer: 'Test Authority', names: [name] });
    expect(await readFile(paths.tlsCredentials, 'utf8')).toBe(pem);
  });

  test('remembers a refusal on DATA, and says when it tries again', async () => {
    const failure = { kind: 'problem', code: 'caa', detail: '', identifier: name };
    const program = `process.on('message', () =>
      process.send({ kind: 'failed', failure: ${JSON.stringify(failure)}, attempts: [] }, () => process.disconnect()));`;
    const { status } = await runFor(60_000, {}, found, program);
    expect(status.problems).toEqual([
      {
        path: 'tls',
        message: expect.stringMatching(
          /^A CAA record of chat\.example\.org .*Next attempt: 2026-11-21 00:15 UTC$/,
        ),
        fix: expect.stringContaining('dns push'),
      },
    ]);
    const history = await readHistory(paths.acme, `${directory} ${name}`);
    expect(history).toMatchObject({ failures: 1, notBeforeMs: start + 15 * 60_000 });
    // The same device with another domain starts afresh.
    expect(await readHistory(paths.acme, `${directory} other.example`)).toEqual(
      emptyHistory(`${directory} other.example`),
    );
  });

  test('keeps what was issued while the clock is behind, and puts it to use once it is right', async () => {
    const orders = join(scratch, 'orders');
    const fixture = new URL('../../fixtures/acme/authority.ts', import.meta.url).href;
    const dates = { notBeforeMs: start + 10 * 60_000, notAfterMs: start + 80 * day };
    const program = `import { appendFileSync } from 'node:fs';
      import { makeTestAuthority } from ${JSON.stringify(fixture)};
      process.on('message', ({ certificateKeyPem: keyPem }) => {
        appendFileSync(${JSON.stringify(orders)}, 'x');
        const leaf = { names: [${JSON.stringify(name)}], keyPem, ...${JSON.stringify(dates)} };
        const chainPem = makeTestAuthority().issue(leaf).slice(keyPem.length);
        process.send({ kind: 'issued', chainPem, proven: {}, leftOut: [] }, () => process.disconnect());
      });`;
    const { status } = await runFor(60_000, {}, found, program);
    expect(status.lastFailure?.message).toContain('valid only from 2026-11-21 00:10 UTC');
    const waiting = await readFile(join(paths.acme, 'relay.next.pem'), 'utf8');
    const { status: after } = await runFor(20 * 60_000, {}, { kind: 'failed', reason: 'SERVFAIL' }, program);
    expect(after).toMatchObject({ state: 'valid', names: [name] });
    expect(await readFile(paths.tlsCredentials, 'utf8')).toBe(waiting);
    expect(await readFile(orders, 'utf8')).toBe('x');
  });

  test('makes a new key when the authority does not take the one there is', async () => {
    const pem = makeTestAuthority().issue({
      names: [name],
      notBeforeMs: start - 80 * day,
      notAfterMs: start + day,
    });
    await writeFile(paths.tlsCredentials, pem);
    const seen = join(scratch, 'keys');
    const program = `import { appendFileSync } from 'node:fs';
      process.on('message', ({ certificateKeyPem }) => {
        appendFileSync(${JSON.stringify(seen)}, certificateKeyPem);
        const failure = { kind: 'problem', code: 'badPublicKey', detail: '' };
        process.send({ kind: 'failed', failure, attempts: [] }, () => process.disconnect());
      });`;
    await runFor(20 * 60_000, {}, found, program);
    const keys = (await readFile(seen, 'utf8')).match(/-----BEGIN[^]*?-----END PRIVATE KEY-----/g) ?? [];
    expect(keys).toHaveLength(2);
    expect(pem).toContain(keys[0]);
    expect(pem).not.toContain(keys[1]);
  });
});

describe('history', () => {
  test('what cannot be read counts as not there', async () => {
    const acme = await mkdtemp(join(tmpdir(), 'history-'));
    for (const text of ['', '{', '[]', '{"failures":-1}', '\0']) {
      await writeFile(join(acme, 'history.json'), text);
      expect(await readHistory(acme, 'subject')).toEqual(emptyHistory('subject'));
    }
    await writeHistory(acme, { ...emptyHistory('subject'), failures: 3 });
    expect((await readHistory(acme, 'subject')).failures).toBe(3);
    await rm(acme, { recursive: true });
  });

  test('an account is of one authority, and its key is on DATA before anybody hears of it', async () => {
    const acme = await mkdtemp(join(tmpdir(), 'account-'));
    const first = await ensureAccount(acme, directory, 'admin@example.org');
    expect(first.keyPem).toContain('PRIVATE KEY');
    expect(await ensureAccount(acme, directory, '')).toEqual(first);
    expect(await readAccountUrl(acme, directory)).toBeUndefined();
    const other = await ensureAccount(acme, 'https://other.example/directory', '');
    expect(other.keyPem).not.toBe(first.keyPem);
    await rm(acme, { recursive: true });
  });
});

describe('orderRequest', () => {
  const account = { directory, keyPem: 'account', contact: '' };
  const request = (document: ConfigDocument, names: readonly string[], proven = {}) =>
    orderRequest({
      config: parseConfig(document),
      history: { ...emptyHistory('x'), proven },
      names,
      hasDns: false,
      account,
      keyPem: 'key',
      replaces: undefined,
    });

  test('wants the domain above all, and begins with what worked before', () => {
    const { names, profile } = request({ domain: name }, [name, `www.${name}`], { [name]: 'tls-alpn-01' });
    expect(names).toEqual([
      { identifier: { type: 'dns', value: name }, required: true, challenges: ['tls-alpn-01', 'http-01'] },
      {
        identifier: { type: 'dns', value: `www.${name}` },
        required: false,
        challenges: ['http-01', 'tls-alpn-01'],
      },
    ]);
    expect(profile).toBe('');
  });

  test('asks for a short-lived certificate for an address, unless another profile is wanted', () => {
    const wanted = request({ domain: '8.8.8.8' }, ['8.8.8.8']);
    expect(wanted).toMatchObject({ profile: 'shortlived', profileRequired: false });
    expect(wanted.names[0]?.identifier).toEqual({ type: 'ip', value: '8.8.8.8' });
    const other = request({ domain: '8.8.8.8', tls: { profile: 'tlsserver' } }, ['8.8.8.8']);
    expect(other).toMatchObject({ profile: 'tlsserver', profileRequired: true });
  });
});

describe('findExtraNames', () => {
  const signal = new AbortController().signal;
  const names = ['www.a.example', 'mta-sts.a.example'];
  const answers =
    (www: LookUp, mtaSts: LookUp) =>
    async (asked: string): Promise<LookUp> =>
      asked.startsWith('www') ? www : mtaSts;

  test('takes names that lead where the domain leads', async () => {
    const elsewhere: LookUp = { kind: 'found', addresses: ['198.51.100.1'] };
    const two: LookUp = { kind: 'found', addresses: ['198.51.100.1', '192.0.2.1'] };
    expect(await findExtraNames(found, names, [], answers(elsewhere, two), signal)).toEqual([names[1]]);
    expect(await findExtraNames(found, names, names, answers({ kind: 'none' }, found), signal)).toEqual([
      names[1],
    ]);
  });

  test('keeps what the certificate has while nobody can be asked', async () => {
    const failed: LookUp = { kind: 'failed', reason: 'SERVFAIL' };
    const kept = ['www.a.example'];
    expect(await findExtraNames(found, names, kept, answers(failed, failed), signal)).toEqual(kept);
    expect(await findExtraNames(failed, names, kept, answers(found, found), signal)).toEqual(kept);
  });
});
