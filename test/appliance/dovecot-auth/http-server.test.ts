import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
import { startAuthHttpServer } from '../../../appliance/dovecot-auth/http-server.ts';

let directory = '';
let server: AsyncDisposable;
let delivered: string[];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'auth-'));
  delivered = [];
  server = await startAuthHttpServer({
    socketPath: join(directory, 'auth.sock'),
    log: silentLog,
    authenticate: async (username, password) => {
      if (password === 'busy') return { kind: 'unavailable' };
      if (password === 'broken') throw new Error('disk full');
      return password === 'p&=ä\n1' ? { kind: 'accepted', address: username } : { kind: 'denied' };
    },
    lookup: (username, service) => (username === `known-to-${service}` ? 'known@x' : null),
    homeOf: (address) => `/data/mail/${address}`,
    delivered: (address, from) => delivered.push(`${address} ${from}`),
  });
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

function ask(path: string, body: string, method = 'POST'): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: join(directory, 'auth.sock'), path, method }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    outgoing.once('error', reject);
    outgoing.end(body);
  });
}

describe('startAuthHttpServer', () => {
  test('answers a sign-in, with any byte in the password, also by absolute URL as Dovecot asks', async () => {
    const form = `user=a%40x&password=${encodeURIComponent('p&=ä\n1')}`;
    const accepted = { status: 200, body: 'a@x\n/data/mail/a@x\n' };
    expect(await ask('/login', form)).toEqual(accepted);
    expect(await ask('http://relay/login', form)).toEqual(accepted);
  });

  test.each([
    ['a wrong password', 'wrong', 403],
    ['an overload', 'busy', 503],
    ['a failure', 'broken', 503],
  ])('answers %s with its status and nothing else', async (_, password, status) => {
    expect(await ask('/login', `user=a%40x&password=${password}`)).toEqual({ status, body: '' });
  });

  test('looks addresses up for a service', async () => {
    expect(await ask('/lookup', 'user=known-to-lmtp&service=lmtp')).toEqual({
      status: 200,
      body: 'known@x\n/data/mail/known@x\n',
    });
    expect(await ask('/lookup', 'user=known-to-lmtp&service=imap')).toEqual({ status: 404, body: '' });
    expect(await ask('/lookup', '')).toMatchObject({ status: 404 });
  });

  test('passes deliveries on', async () => {
    expect(await ask('/delivered', 'user=a%40x&from=b%40y')).toMatchObject({ status: 204 });
    expect(await ask('/delivered', 'user=a%40x')).toMatchObject({ status: 204 });
    expect(delivered).toEqual(['a@x b@y', 'a@x ']);
  });

  test('refuses other methods, other paths and large bodies', async () => {
    expect(await ask('/login', '', 'GET')).toMatchObject({ status: 400 });
    expect(await ask('/elsewhere', '')).toMatchObject({ status: 400 });
    expect(await ask('/login', `user=a&password=${'x'.repeat(9000)}`)).toMatchObject({ status: 400 });
    expect(await ask('/lookup', 'user=known-to-lmtp&service=lmtp')).toMatchObject({ status: 200 });
  });
});
