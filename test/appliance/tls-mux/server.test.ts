import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, connect as connectTls, type TLSSocket } from 'node:tls';
import fc from 'fast-check';
import forge from 'node-forge';
import { afterEach, describe, expect, test } from 'vitest';
import { createLog, silentLog } from '../../../appliance/base/log.ts';
import { type ConnectBackend, createMux, type MuxOptions } from '../../../appliance/tls-mux/server.ts';

const certificate = selfSigned();
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

function selfSigned(): { key: string; cert: string } {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
  const signer = forge.pki.privateKeyFromPem(String(key));
  const cert = forge.pki.createCertificate();
  cert.publicKey = forge.pki.setRsaPublicKey(signer.n, signer.e);
  cert.serialNumber = '01';
  cert.validity.notBefore = new Date(0);
  cert.validity.notAfter = new Date(2 ** 42);
  cert.sign(signer, forge.md.sha256.create());
  return { key: String(key), cert: forge.pki.certificateToPem(cert) };
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A TLS backend that answers with its name and then echoes until the client is done. */
async function backend(name: string, proxyHeader = false): Promise<ConnectBackend & { headers: Buffer[] }> {
  const headers: Buffer[] = [];
  const tls = createTlsServer({ ...certificate, minVersion: 'TLSv1.2' }, (socket) => {
    socket.on('error', () => {});
    socket.write(`${name}\n`);
    socket.pipe(socket);
  });
  const plain = createServer({ allowHalfOpen: true }, (socket) => {
    if (!proxyHeader) {
      tls.emit('connection', socket);
      return;
    }
    socket.once('readable', () => {
      headers.push(socket.read(28) as Buffer);
      tls.emit('connection', socket);
    });
  });
  return {
    kind: 'connect',
    name,
    target: { host: '127.0.0.1', port: await listen(plain) },
    proxyHeader,
    headers,
  };
}

async function mux(options: Partial<MuxOptions> & Pick<MuxOptions, 'fallback'>): Promise<number> {
  const stop = new AbortController();
  closers.push(() => stop.abort());
  return listen(createMux({ byProtocol: new Map(), log: silentLog, ...options }, stop.signal));
}

async function hello(port: number, ALPNProtocols: string[]): Promise<{ socket: TLSSocket; line: string }> {
  const socket = connectTls({ host: '127.0.0.1', port, ALPNProtocols, rejectUnauthorized: false });
  closers.push(() => socket.destroy());
  const [line] = (await once(socket, 'data')) as [Buffer];
  return { socket, line: line.toString() };
}

async function closedBy(port: number, send: string | Uint8Array): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => {}).resume();
  socket.write(send);
  await once(socket, 'close');
}

/** The port of a server that passes on what it gets one byte at a time. */
async function byteByByte(port: number): Promise<number> {
  return listen(
    createServer({ allowHalfOpen: true }, (socket) => {
      const onward = connect({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true });
      onward.on('error', () => {}).pipe(socket.on('error', () => {}));
      socket.on('end', () => onward.end());
      socket.on('data', (chunk: Buffer) => {
        if (chunk.length > 10_000) onward.write(chunk);
        else for (const byte of chunk) onward.write(Uint8Array.of(byte));
      });
    }),
  );
}

/** What a TLS client says first. */
async function helloBytes(): Promise<Buffer> {
  const server = createServer();
  const port = await listen(server);
  connectTls({ host: '127.0.0.1', port, ALPNProtocols: ['imap'] }).on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [Socket];
  const [bytes] = (await once(
    socket.on('error', () => {}),
    'data',
  )) as [Buffer];
  socket.destroy();
  return bytes;
}

describe('createMux', () => {
  test('sends each client to the backend of its protocol, and the rest to the web', async () => {
    const [imap, web] = [await backend('imap'), await backend('web')];
    const port = await mux({ byProtocol: new Map([['imap', imap]]), fallback: web });
    for (const [protocols, name] of [
      [['imap'], 'imap'],
      [['h2', 'imap'], 'imap'],
      [['h2'], 'web'],
      [[], 'web'],
    ] as const) {
      expect((await hello(port, [...protocols])).line).toBe(`${name}\n`);
    }
  });

  test('tells the backend who the client is', async () => {
    const imap = await backend('imap', true);
    const port = await mux({ fallback: imap });
    const { socket } = await hello(port, []);
    const [header] = imap.headers;
    expect(header?.subarray(12, 16).toString('hex')).toBe('2111000c');
    expect(header?.subarray(16, 24).toString('hex')).toBe('7f0000017f000001');
    expect(header?.readUInt16BE(24)).toBe(socket.localPort);
    expect(header?.readUInt16BE(26)).toBe(port);
  });

  test('carries megabytes both ways, and a half-closed connection to its end', async () => {
    const port = await mux({ fallback: await backend('web') });
    const { socket } = await hello(port, []);
    const sent = Buffer.alloc(8_000_000, 'abcdefg');
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.end(sent);
    await once(socket, 'end');
    expect(Buffer.concat(chunks).equals(sent)).toBe(true);
  });

  test('takes a hello that arrives byte by byte', async () => {
    const port = await mux({ fallback: await backend('web') });
    const { line } = await hello(await byteByByte(port), []);
    expect(line).toBe('web\n');
  });

  test('drops what is not TLS at once, and what says nothing after the deadline', async () => {
    const port = await mux({ fallback: await backend('web'), helloTimeoutMs: 50 });
    await closedBy(port, 'GET / HTTP/1.1\r\n\r\n');
    await closedBy(port, '');
    await closedBy(port, Buffer.from('1603010200', 'hex'));
  });

  test('carries no more connections of one address than allowed, and again as they end', async () => {
    const port = await mux({ fallback: await backend('web'), maxPerAddress: 2 });
    const [first] = [await hello(port, []), await hello(port, [])];
    await closedBy(port, '');
    first.socket.destroy();
    await expect.poll(async () => (await hello(port, []).catch(() => undefined))?.line).toBe('web\n');
  });

  test('answers with a TLS alert when the backend is down', async () => {
    const dead = createServer();
    const deadPort = await listen(dead);
    dead.close();
    await once(dead, 'close');
    const port = await mux({
      fallback: {
        kind: 'connect',
        name: 'dead',
        target: { host: '127.0.0.1', port: deadPort },
        proxyHeader: false,
      },
    });
    const socket = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false });
    const [error] = (await once(socket, 'error').catch((reason: unknown) => [reason])) as [Error];
    expect(error.message).toContain('alert internal error');
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'hands %s clients themselves to a backend in this process, however their hello arrives',
    async (version) => {
      const seen: (string | undefined)[] = [];
      const tls = createTlsServer({ ...certificate, minVersion: version, maxVersion: version }, (socket) => {
        seen.push(socket.remoteAddress);
        socket.on('error', () => {});
        socket.write(`here ${socket.getProtocol()}\n`);
        socket.pipe(socket);
      });
      const port = await mux({
        fallback: { kind: 'accept', name: 'here', accept: (client) => tls.emit('connection', client) },
      });
      for (const through of [port, await byteByByte(port)]) {
        const { socket, line } = await hello(through, []);
        expect(line).toBe(`here ${version}\n`);
        const sent = Buffer.alloc(300_000, 'abcdefg');
        const chunks: Buffer[] = [];
        socket.on('data', (chunk: Buffer) => chunks.push(chunk));
        socket.end(sent);
        await once(socket, 'end');
        expect(Buffer.concat(chunks).equals(sent)).toBe(true);
      }
      expect(seen).toEqual(['127.0.0.1', '127.0.0.1']);
    },
  );

  test('tells people who forgot the s in https what is wrong', async () => {
    const port = await mux({ fallback: await backend('web') });
    const socket = connect({ host: '127.0.0.1', port });
    socket.write('GET / HTTP/1.1\r\nHost: a.example\r\n\r\n');
    let heard = '';
    for await (const chunk of socket as AsyncIterable<Buffer>) heard += chunk.toString();
    expect(heard).toMatch(/^HTTP\/1\.1 400 /);
    const [head = '', body = ''] = heard.split('\r\n\r\n');
    expect(head).toContain(`Content-Length: ${body.length}`);
  });

  test('drops who waits longest when too many have not said hello, and serves who says it', async () => {
    const port = await mux({ fallback: await backend('web'), maxWaiting: 3 });
    const silent: Socket[] = [];
    for (let index = 0; index < 5; index++) {
      const socket = connect({ host: '127.0.0.1', port });
      socket.on('error', () => {}).resume();
      closers.push(() => socket.destroy());
      await once(socket, 'connect');
      silent.push(socket);
    }
    expect((await hello(port, [])).line).toBe('web\n');
    await expect.poll(() => silent.map(({ closed }) => closed)).toEqual([true, true, true, false, false]);
  });

  test('holds bytes of so many that take none, and no more', async () => {
    const flood = createServer((socket) => {
      socket.on('error', () => {});
      const more = () => {
        while (socket.write(Buffer.alloc(65_536)));
      };
      socket.on('drain', more).once('data', more);
    });
    const target = { port: await listen(flood) };
    const port = await mux({
      fallback: { kind: 'connect', name: 'flood', target, proxyHeader: false },
      maxStalled: 2,
    });
    const bytes = await helloBytes();
    for (let index = 0; index < 4; index++) {
      const socket = connect({ host: '127.0.0.1', port });
      socket.on('error', () => {});
      closers.push(() => socket.destroy());
      socket.write(bytes);
      await once(socket, 'readable');
    }
    const carried = () =>
      new Promise<number>((resolve) => flood.getConnections((_, count) => resolve(count)));
    await expect.poll(carried).toBe(2);
  });

  test('says once that a backend is down, and again when it was up in between', async () => {
    const lines: string[] = [];
    const place = createServer();
    const backendPort = await listen(place);
    place.close();
    await once(place, 'close');
    const port = await mux({
      fallback: { kind: 'connect', name: 'imap', target: { port: backendPort }, proxyHeader: false },
      log: createLog('mux', (line) => lines.push(line)),
    });
    const bytes = await helloBytes();
    await closedBy(port, bytes);
    await closedBy(port, bytes);
    expect(lines).toHaveLength(1);
    const up = createServer((socket) =>
      socket
        .on('error', () => {})
        .resume()
        .end(),
    );
    up.listen(backendPort, '127.0.0.1');
    await once(up, 'listening');
    await closedBy(port, bytes);
    up.close();
    await once(up, 'close');
    await closedBy(port, bytes);
    expect(lines).toHaveLength(2);
  });

  test('ends its own connections when it is stopped, and leaves those it has handed over', async () => {
    const tls = createTlsServer(certificate, (socket) => {
      socket.on('error', () => {});
      socket.write('here\n');
      socket.pipe(socket);
    });
    const stop = new AbortController();
    closers.push(() => stop.abort());
    const server = createMux(
      {
        byProtocol: new Map([['imap', await backend('imap')]]),
        fallback: { kind: 'accept', name: 'here', accept: (client) => tls.emit('connection', client) },
        log: silentLog,
      },
      stop.signal,
    );
    const port = await listen(server);
    const carried = await hello(port, ['imap']);
    const accepted = await hello(port, []);
    const silent = connect({ host: '127.0.0.1', port });
    silent.on('error', () => {}).resume();
    carried.socket.on('error', () => {});
    await once(silent, 'connect');
    stop.abort();
    await Promise.all([once(silent, 'close'), once(carried.socket, 'close')]);
    accepted.socket.write('still\n');
    expect(String((await once(accepted.socket, 'data'))[0])).toBe('still\n');
  });

  test('survives any bytes', async () => {
    const web = await backend('web');
    const port = await mux({ fallback: web, helloTimeoutMs: 200 });
    const bytes = await helloBytes();
    await fc.assert(
      fc.asyncProperty(
        fc.nat(bytes.length),
        fc.uint8Array({ maxLength: 300 }),
        fc.boolean(),
        async (at, noise, keep) => {
          const damaged = Buffer.from(bytes);
          damaged.set(noise.subarray(0, damaged.length - at), at);
          const socket = connect({ host: '127.0.0.1', port });
          socket.on('error', () => {}).end(keep ? damaged : noise);
          await once(socket, 'finish');
          socket.destroy();
        },
      ),
      { numRuns: 60 },
    );
    expect((await hello(port, [])).line).toBe('web\n');
  });

  test('survives a client that cannot be accepted', async () => {
    const lines: string[] = [];
    const server = createMux(
      {
        byProtocol: new Map(),
        fallback: await backend('web'),
        log: createLog('mux', (line) => lines.push(line)),
      },
      new AbortController().signal,
    );
    // As Node tells what accept(2) does.
    expect(server.emit('error', new Error('accept EMFILE'))).toBe(true);
    expect(lines.join()).toContain('accept EMFILE');
  });

  test('survives clients that vanish in the middle', async () => {
    const port = await mux({ fallback: await backend('web') });
    for (let index = 0; index < 20; index++) {
      const socket = connect({ host: '127.0.0.1', port });
      await once(socket, 'connect');
      socket.write(Buffer.from('1603010200010001fc0303', 'hex'));
      socket.resetAndDestroy();
    }
    expect((await hello(port, [])).line).toBe('web\n');
  });
});
