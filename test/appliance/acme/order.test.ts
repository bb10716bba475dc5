import { describe, expect, test } from 'vitest';
import { createHttpChallenges, createTlsAlpnChallenges } from '../../../appliance/acme/challenges.ts';
import { namesAfter } from '../../../appliance/acme/order.ts';
import { runOrder } from '../../../appliance/acme/order-process.ts';
import type { OrderFailure, OrderRequest } from '../../../appliance/acme/order-protocol.ts';
import { createLog, silentLog } from '../../../appliance/base/log.ts';
import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

type Name = OrderRequest['names'][number];
const name = (value: string, required: boolean, ...challenges: Name['challenges']): Name => ({
  identifier: { type: 'dns', value },
  required,
  challenges,
});
const refused = (identifier: string, challenge: Name['challenges'][number]): OrderFailure => ({
  kind: 'problem',
  code: 'connection',
  detail: '',
  identifier,
  challenge,
});

describe('namesAfter', () => {
  const names = [
    name('a.example', true, 'http-01', 'tls-alpn-01'),
    name('www.a.example', false, 'http-01', 'tls-alpn-01'),
  ];

  test('tries the next way for all when the first one is closed for all', () => {
    const failures = [refused('a.example', 'http-01'), refused('www.a.example', 'http-01')];
    expect(namesAfter(names, failures)).toEqual({
      kind: 'again',
      names: [name('a.example', true, 'tls-alpn-01'), name('www.a.example', false, 'tls-alpn-01')],
      leftOut: [],
    });
  });

  test('leaves out a name that is not required when the domain itself was proven in the same way', () => {
    const failure = refused('www.a.example', 'http-01');
    expect(namesAfter(names, [failure])).toEqual({ kind: 'again', names: [names[0]], leftOut: [failure] });
  });

  test('gives up when the last way for the domain fails, and says how', () => {
    const last = [name('a.example', true, 'tls-alpn-01'), name('www.a.example', false, 'http-01')];
    const failure = refused('a.example', 'tls-alpn-01');
    expect(namesAfter(last, [failure])).toEqual({ kind: 'give-up', failure });
  });

  test('leaves out a name whose ways are all tried', () => {
    const last = [name('a.example', true, 'http-01', 'dns-01'), name('www.a.example', false, 'http-01')];
    const failures = [refused('a.example', 'http-01'), refused('www.a.example', 'http-01')];
    expect(namesAfter(last, failures)).toEqual({
      kind: 'again',
      names: [name('a.example', true, 'dns-01')],
      leftOut: [failures[1]],
    });
  });
});

describe('runOrder', () => {
  const request: OrderRequest = {
    kind: 'order',
    directoryUrl: 'https://authority.example/directory',
    accountKeyPem: '',
    contact: '',
    tellContact: false,
    names: [],
    profile: '',
    profileRequired: false,
    certificateKeyPem: '',
  };
  const challenge = {
    type: 'http-01',
    identifier: 'a.example',
    token: 'token',
    keyAuthorization: 'token.key',
  };

  async function withProgram(source: string, more: { signal?: AbortSignal; timeoutMs?: number } = {}) {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'order-'));
    const program = join(directory.path, 'program.mjs');
    await writeFile(program, source);
    const http = createHttpChallenges();
    const accounts: string[] = [];
    const lines: string[] = [];
    const outcome = await runOrder(request, {
      program,
      challenges: { http, tlsAlpn: createTlsAlpnChallenges() },
      onAccount: async (url) => void accounts.push(url),
      log: more.signal === undefined ? createLog('acme', (line) => lines.push(line)) : silentLog,
      signal: new AbortController().signal,
      ...more,
    }).then(
      (result) => ({ result }),
      (error: unknown) => ({ error: String(error) }),
    );
    return { outcome, accounts, lines, left: http.respond('/.well-known/acme-challenge/token') };
  }

  test('meets the program’s challenges and hands on what it says', async () => {
    const { outcome, accounts, left } = await withProgram(`
      const challenge = ${JSON.stringify(challenge)};
      process.on('message', (message) => {
        if (message.kind === 'order') {
          process.send({ kind: 'account', url: 'https://authority.example/account/1' });
          process.send({ kind: 'present', id: 7, challenge });
        } else if (message.id === 7) process.send({ kind: 'remove', id: 8, challenge });
        else process.send({ kind: 'issued', chainPem: 'chain', proven: {}, leftOut: [] }, () => process.disconnect());
      });`);
    expect(outcome).toEqual({ result: { kind: 'issued', chainPem: 'chain', proven: {}, leftOut: [] } });
    expect(accounts).toEqual(['https://authority.example/account/1']);
    expect(left).toBeUndefined();
  });

  test('takes back the challenges of a program that dies', async () => {
    const { outcome, left } = await withProgram(`
      process.on('message', ({ kind }) => {
        if (kind === 'order') process.send({ kind: 'present', id: 1, challenge: ${JSON.stringify(challenge)} });
        else process.exit(3);
      });`);
    expect(outcome).toEqual({ error: 'Error: The ordering program ended without a result (code 3)' });
    expect(left).toBeUndefined();
  });

  test('tells the program when a challenge cannot be met', async () => {
    const dns = { ...challenge, type: 'dns-01' };
    const { outcome, lines } = await withProgram(`
      process.on('message', ({ kind, error }) => {
        if (kind === 'order') process.send({ kind: 'present', id: 1, challenge: ${JSON.stringify(dns)} });
        else {
          const failure = { kind: 'here', code: '', detail: error };
          process.send({ kind: 'failed', failure, attempts: [] }, () => process.disconnect());
        }
      });`);
    expect(outcome).toMatchObject({
      result: { failure: { detail: expect.stringContaining('No credentials') } },
    });
    expect(lines.join()).toContain('challenge');
  });

  test('ends a program that takes too long, and one that is not wanted any more', async () => {
    const { outcome } = await withProgram('setInterval(() => {}, 1000);', { timeoutMs: 200 });
    expect(outcome).toMatchObject({ error: expect.stringContaining('took longer than') });
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 100);
    const stopped = await withProgram('setInterval(() => {}, 1000);', { signal: stop.signal });
    expect(stopped.outcome).toMatchObject({ error: expect.stringContaining('Abort') });
  });

  test('believes no message that is none', async () => {
    const { outcome } = await withProgram(`process.on('message', () => process.send({ kind: 'issued' }));`);
    expect(outcome).toMatchObject({ error: expect.stringContaining('ValiError') });
  });
});
