import { once } from 'node:events';
import { type AddressInfo, connect as connectTcp, createServer, type Server } from 'node:net';
import { connect, type ConnectionOptions, createSecureContext, type TLSSocket } from 'node:tls';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
import { makeSelfSigned } from '../../../appliance/boot/certificate.ts';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import {
  createHttpsServer,
  type HttpsServer,
  type HttpsServerOptions,
} from '../../../appliance/http/https-server.ts';
import { createTlsAlpnServer, tlsAlpnProtocol } from '../../../appliance/http/tls-alpn-server.ts';

let credentials: string;
let other: string;
let entrance: Server | undefined;
let https: HttpsServer | undefined;
let nowMs = 0;

beforeAll(async () => {
  const make = async () => {
    const { keyPem, certificatePem } = await makeSelfSigned(parseDomain('chat.example.org'), Date.now());
    return keyPem + certificatePem;
  };
  [credentials, other] = await Promise.all([make(), make()]);
});
afterEach(() => {
  https?.[Symbol.dispose]();
  entrance?.close();
  https = undefined;
});

/** Sockets that come in are handed over as the multiplexer does. */
async function enter(accept: HttpsServer['accept']): Promise<number> {
  entrance = createServer({ allowHalfOpen: true, pauseOnConnect: true }, accept);
  entrance.listen(0, '127.0.0.1');
  await once(entrance, 'listening');
  return (entrance.address() as AddressInfo).port;
}

async function start(options: Partial<HttpsServerOptions> = {}): Promise<number> {
  const server = createHttpsServer({
    credentials,
    maxHeaderBytes: 16_384,
    clock: { monotonicMs: () => nowMs },
    handle: (request, response) => response.end(request.socket.remoteAddress),
    log: silentLog,
    ...options,
  });
  https = server;
  return enter((client) => server.accept(client));
}

async function secure(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options });
  await once(socket, 'secureConnect');
  return socket.on('error', () => {});
}

async function heardUntilEnd(socket: TLSSocket): Promise<string> {
  let heard = '';
  for await (const chunk of socket as AsyncIterable<Buffer>) heard += chunk.toString();
  return heard;
}

describe('createHttpsServer', () => {
  test('answers over the versions of today with the client’s address known, and over none of yesterday', async () => {
    const port = await start();
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const socket = await secure(port, { minVersion: version, maxVersion: version });
      expect(socket.getProtocol()).toBe(version);
      socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
      expect(await heardUntilEnd(socket)).toMatch(/\r\n\r\n127\.0\.0\.1$/);
    }
    const old = connect({
      host: '127.0.0.1',
      port,
      rejectUnauthorized: false,
      minVersion: 'TLSv1.1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT:@SECLEVEL=0',
    });
    const [error] = (await once(old, 'error').catch((reason: unknown) => [reason])) as [Error];
    expect(error.message).toMatch(/protocol version/);
  });

  test('gives up on headers that do not come to an end', async () => {
    const port = await start({ headersTimeoutMs: 50 });
    const slow = await secure(port);
    slow.write('GET / HTTP/1.1\r\nHost: a\r\nX: ');
    expect(await heardUntilEnd(slow)).toMatch(/^HTTP\/1\.1 408 /);
    // Nor does it wait for who says nothing at all.
    expect(await heardUntilEnd(await secure(port))).toMatch(/^HTTP\/1\.1 408 |^$/);
  });

  test('keeps its credentials when the new ones do not belong together', async () => {
    const port = await start();
    const mixed = other.replace(
      /-----BEGIN CERT[^]*/,
      credentials.slice(credentials.indexOf('-----BEGIN CERT')),
    );
    expect(() => https?.setCredentials(mixed)).toThrow('not of one another');
    expect(() => https?.setCredentials('')).toThrow();
    const before = (await secure(port)).getPeerX509Certificate()?.fingerprint256;
    https?.setCredentials(other);
    const after = (await secure(port)).getPeerX509Certificate()?.fingerprint256;
    expect(after).not.toBe(before);
  });

  test('holds so many connections and no more', async () => {
    const port = await start({ maxConnections: 1 });
    const first = await secure(port);
    const second = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
    await expect(once(second, 'secureConnect')).rejects.toThrow();
    first.destroy();
    await expect.poll(async () => (await secure(port).catch(() => undefined))?.encrypted).toBe(true);
  });

  test('leaves room for others beside one who holds all that he may', async () => {
    const port = await start({ maxConnections: 8 });
    const held = [await secure(port), await secure(port)];
    await expect(secure(port)).rejects.toThrow();
    const plain = connectTcp({ host: '127.0.0.1', port, localAddress: '127.0.0.2' });
    const elsewhere = await secure(port, { socket: plain });
    expect(elsewhere.encrypted).toBe(true);
    held[0]?.destroy();
    await expect.poll(async () => (await secure(port).catch(() => undefined))?.encrypted).toBe(true);
  });

  test('shakes so many hands of one address a minute and no more', async () => {
    const port = await start({ handshakes: { perMinute: 1, burst: 2 } });
    for (let count = 0; count < 2; count++) (await secure(port)).destroy();
    await expect(secure(port)).rejects.toThrow();
    nowMs += 60_000;
    expect((await secure(port)).encrypted).toBe(true);
  });

  test('answers a few requests that come at once, and drops who asks on and on', async () => {
    let asked = 0;
    const port = await start({
      handle: (_, response) => {
        asked++;
        setImmediate(() => response.end('x'));
      },
    });
    const get = 'GET / HTTP/1.1\r\nHost: a\r\n';
    const few = await secure(port);
    few.write(`${`${get}\r\n`.repeat(3)}${get}Connection: close\r\n\r\n`);
    expect((await heardUntilEnd(few)).match(/HTTP\/1\.1 200/g)).toHaveLength(4);
    const one = await secure(port);
    for (let round = 0; round < 10; round++) {
      one.write(`${get}\r\n`);
      await once(one, 'data');
    }
    one.destroy();
    asked = 0;
    const many = await secure(port);
    many.write(`${get}\r\n`.repeat(500));
    await heardUntilEnd(many).catch(() => {});
    expect(asked).toBe(4);
  });

  test('refuses more headers than it takes, instead of passing over some', async () => {
    let headers = 0;
    const port = await start({
      handle: (request, response) => {
        headers = request.rawHeaders.length / 2;
        response.setHeader('connection', 'close').end();
      },
    });
    const ask = async (count: number): Promise<string> => {
      const socket = await secure(port);
      socket.write(`GET / HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(count - 1)}\r\n`);
      return heardUntilEnd(socket);
    };
    expect(await ask(255)).toMatch(/^HTTP\/1\.1 200 /);
    expect(headers).toBe(255);
    expect(await ask(256)).toMatch(/^HTTP\/1\.1 431 /);
    expect(await ask(3000)).toMatch(/^HTTP\/1\.1 431 |^$/);
  });

  test('is not brought down by a handler that throws', async () => {
    const port = await start({
      handle: () => {
        throw new Error('broken');
      },
    });
    const socket = await secure(port);
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    expect(await heardUntilEnd(socket)).toMatch(/^HTTP\/1\.1 500 /);
  });
});

describe('createTlsAlpnServer', () => {
  test('shows the certificate of an open challenge by its name, and nothing else to anybody', async () => {
    const context = createSecureContext({ key: credentials, cert: credentials });
    using server = createTlsAlpnServer((name) => (name === 'chat.example.org' ? context : undefined));
    const port = await enter((client) => server.accept(client));
    const ask = (servername: string) => secure(port, { servername, ALPNProtocols: [tlsAlpnProtocol] });
    const socket = await ask('Chat.Example.Org');
    expect(socket.alpnProtocol).toBe(tlsAlpnProtocol);
    expect(socket.getPeerX509Certificate()?.subject).toContain('chat.example.org');
    expect(await heardUntilEnd(socket)).toBe('');
    await expect(ask('other.example.org')).rejects.toThrow();
    await expect(ask('')).rejects.toThrow();
  });
});
