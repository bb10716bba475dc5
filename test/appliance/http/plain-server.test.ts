import { once } from 'node:events';
import type { Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
import {
  createPlainServer,
  type PlainServerOptions,
  redirectTarget,
} from '../../../appliance/http/plain-server.ts';

const hosts = ['chat.example.org', 'www.chat.example.org', 'mta-sts.chat.example.org'] as const;
let server: Server;
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

async function start(options: Partial<PlainServerOptions> = {}): Promise<number> {
  server = createPlainServer({
    respondToChallenge: (path) => (path === '/.well-known/acme-challenge/token' ? 'token.thumb' : undefined),
    hosts: [...hosts],
    pages: () => undefined,
    log: silentLog,
    ...options,
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

function open(port: number): Socket {
  return connect({ host: '127.0.0.1', port }).on('error', () => {});
}

/** Sends `text` and returns all that comes until the server ends. */
async function ask(port: number, text: string): Promise<string> {
  const socket = open(port);
  socket.write(text);
  let heard = '';
  for await (const chunk of socket as AsyncIterable<Buffer>) heard += chunk.toString('latin1');
  return heard;
}

const get = (port: number, path: string, host = 'chat.example.org', method = 'GET') =>
  ask(port, `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);

describe('createPlainServer', () => {
  test('answers a certificate authority', async () => {
    const port = await start();
    const known = await get(port, '/.well-known/acme-challenge/token');
    expect(known).toMatch(/^HTTP\/1\.1 200 /);
    expect(known.endsWith('\r\n\r\ntoken.thumb')).toBe(true);
    expect(await get(port, '/.well-known/acme-challenge/other')).toMatch(/^HTTP\/1\.1 404 /);
  });

  test('shows everybody else the way to HTTPS, with path and query', async () => {
    const port = await start();
    for (const method of ['GET', 'HEAD']) {
      const answer = await get(port, '/info?lang=de', 'chat.example.org:80', method);
      expect(answer).toMatch(/^HTTP\/1\.1 301 /);
      expect(answer).toMatch(/^location: https:\/\/chat\.example\.org\/info\?lang=de\r$/im);
      const [, body] = answer.split('\r\n\r\n');
      expect(body === '').toBe(method === 'HEAD');
    }
  });

  test('takes nothing in the clear that should have been secret', async () => {
    const port = await start();
    const answer = await ask(port, 'POST /new HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc');
    expect(answer).toMatch(/^HTTP\/1\.1 405 /);
    expect(answer).toMatch(/^allow: GET, HEAD\r$/im);
    expect(answer).not.toMatch(/^location/im);
  });

  test('shows pages where the certificate would only frighten, and still no challenge as a page', async () => {
    const port = await start({ pages: () => (_, response) => response.end('page') });
    expect(await get(port, '/')).toMatch(/page$/);
    expect(await get(port, '/.well-known/acme-challenge/other')).toMatch(/^HTTP\/1\.1 404 /);
  });

  test('survives a page that throws', async () => {
    const port = await start({
      pages: () => () => {
        throw new Error('broken');
      },
    });
    expect(await get(port, '/')).toMatch(/^HTTP\/1\.1 500 /);
    expect(await get(port, '/')).toMatch(/^HTTP\/1\.1 500 /);
  });

  test('serves so many connections of one address and no more, and again as they end', async () => {
    const port = await start({ maxPerAddress: 2 });
    const held = [open(port), open(port)];
    await Promise.all(held.map((socket) => once(socket, 'connect')));
    const third = open(port).resume();
    await once(third, 'close');
    held[0]?.destroy();
    await expect.poll(async () => (await get(port, '/').catch(() => '')).slice(0, 12)).toBe('HTTP/1.1 301');
    held[1]?.destroy();
  });

  test('refuses headers and targets that nobody has', async () => {
    const port = await start();
    expect(await get(port, `/${'x'.repeat(3000)}`)).toMatch(/^HTTP\/1\.1 414 /);
    expect(await ask(port, `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(9000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431 /,
    );
  });
});

describe('redirectTarget', () => {
  test.each([
    ['/a', 'www.chat.example.org', 'https://www.chat.example.org/a'],
    ['/a', 'WWW.CHAT.example.org:80', 'https://www.chat.example.org/a'],
    ['/a', 'evil.example', 'https://chat.example.org/a'],
    ['/a', '', 'https://chat.example.org/a'],
    ['//evil.example/', 'x', 'https://chat.example.org//evil.example/'],
    ['http://evil.example/', 'x', 'https://chat.example.org/'],
    ['*', 'x', 'https://chat.example.org/'],
    ['/ü', 'x', 'https://chat.example.org/%C3%BC'],
  ])('of %s at %s is %s', (path, host, target) => {
    expect(redirectTarget(path, host, [...hosts])).toBe(target);
  });

  test('of anything is a URL of ours that a header can hold', () => {
    const latin1 = fc.string({
      unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
    });
    fc.assert(
      fc.property(latin1, latin1, (path, host) => {
        const target = redirectTarget(path, host, [...hosts]);
        expect(target).toMatch(/^[\x21-\x7e]+$/);
        expect(hosts).toContain(new URL(target).hostname);
      }),
    );
  });
});
