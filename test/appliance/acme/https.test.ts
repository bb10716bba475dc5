import { createServer, type Server } from 'node:https';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { requestHttps, UnreachableError } from '../../../appliance/acme/https.ts';
import { makeTestAuthority } from '../../fixtures/acme/authority.ts';

const authority = makeTestAuthority();
const signal = new AbortController().signal;
let server: Server;
let base = '';
let handle: RequestListener;

beforeAll(async () => {
  setDefaultCACertificates([...getCACertificates('default'), authority.certificatePem]);
  const now = Date.now();
  const pem = authority.issue({ names: ['127.0.0.1'], notBeforeMs: now - 1e6, notAfterMs: now + 1e6 });
  server = createServer({ key: pem, cert: pem }, (request, response) => handle(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  base = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const get = (path: string, timeoutMs?: number) =>
  requestHttps({
    url: base + path,
    method: 'GET',
    signal,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });

describe('requestHttps', () => {
  test('gives status, headers and body, and follows no redirect', async () => {
    handle = (_, response) =>
      response.writeHead(302, { location: 'https://elsewhere.example/' }).end('there');
    expect(await get('/')).toMatchObject({
      status: 302,
      body: 'there',
      headers: { location: 'https://elsewhere.example/' },
    });
  });

  test('takes no endless body', async () => {
    handle = (_, response) => {
      const more = (): void => {
        while (response.write(Buffer.alloc(16_384)));
        response.once('drain', more);
      };
      response.once('close', () => response.removeAllListeners('drain'));
      more();
    };
    await expect(get('/')).rejects.toThrow('More than 262144 bytes');
  });

  test('waits for nobody who says nothing', async () => {
    handle = () => {};
    await expect(get('/', 50)).rejects.toMatchObject({ code: 'TIMEOUT' });
  });

  test('says why nobody was reached', async () => {
    const nobody = requestHttps({ url: 'https://127.0.0.1:1/', method: 'GET', signal });
    await expect(nobody).rejects.toBeInstanceOf(UnreachableError);
    await expect(nobody).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    const wrongName = requestHttps({ url: base.replace('127.0.0.1', 'localhost'), method: 'GET', signal });
    await expect(wrongName).rejects.toMatchObject({ code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  });

  test('goes nowhere without TLS, and stops at a signal', async () => {
    await expect(requestHttps({ url: 'http://127.0.0.1/', method: 'GET', signal })).rejects.toThrow('https');
    handle = () => {};
    const stop = new AbortController();
    const waiting = requestHttps({ url: base, method: 'GET', signal: stop.signal });
    stop.abort();
    await expect(waiting).rejects.toMatchObject({ name: 'AbortError' });
  });
});
