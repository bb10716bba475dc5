import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { createServer as createTlsServer, connect as connectTls, type TLSSocket } from 'node:tls';
import forge from 'node-forge';
import { afterEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
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

async function closedBy(port: number, send: string | Buffer): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => {}).resume();
  socket.write(send);
  await once(socket, 'close');
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
    const slow = createServer((socket) => {
      const onward = connect({ host: '127.0.0.1', port, noDelay: true });
      onward.on('error', () => {}).pipe(socket.on('error', () => {}));
      socket.on('data', (chunk: Buffer) => {
        for (const byte of chunk) onward.write(Uint8Array.of(byte));
      });
    });
    const { line } = await hello(await listen(slow), []);
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
