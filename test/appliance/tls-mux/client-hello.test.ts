import { createServer } from 'node:net';
import { once } from 'node:events';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { recordedHellos } from '../../fixtures/tls-mux/client-hellos.ts';
import { maxReceivedBytes, readClientHello } from '../../../appliance/tls-mux/client-hello.ts';

/** RFC 8448 §3, the client's first record. */
const rfc8448 = Buffer.from(
  `16030100c4010000c00303cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7
   000006130113031302010000910000000b0009000006736572766572ff01000100000a00140012001d0017
   0018001901000101010201030104002300000033002600240 01d002099381de560e4bd43d23d8e435a7dba
   feb3c06e51c13cae4d5413691e529aaf2c002b0003020304000d0020001e04030503060302030804080508
   060401050106010201040205020602020 2002d00020101001c00024001`.replace(/\s/g, ''),
  'hex',
);

/** What a real TLS client (this Node's OpenSSL) sends first. */
async function helloOf(options: ConnectionOptions): Promise<Buffer> {
  await using server = createServer();
  const received = new Promise<Buffer>((resolve, reject) => {
    server.once('connection', (socket) => {
      const chunks: Buffer[] = [];
      socket.on('error', reject).on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        if (readClientHello(Buffer.concat(chunks)).kind === 'incomplete') return;
        socket.destroy();
        resolve(Buffer.concat(chunks));
      });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  connectTls({ ...options, host: '127.0.0.1', port }).on('error', () => {});
  return await received;
}

function expectHello(bytes: Uint8Array, serverName: string | undefined, protocols: readonly string[]): void {
  expect(readClientHello(bytes)).toEqual({ kind: 'hello', hello: { serverName, protocols } });
}

/** The same handshake bytes in records of `size` bytes. */
function refragment(hello: Buffer, size: number): Buffer {
  const handshake = hello.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < handshake.length; at += size) {
    const part = handshake.subarray(at, at + size);
    records.push(Buffer.concat([Uint8Array.of(22, 3, 1, part.length >> 8, part.length & 255), part]));
  }
  return Buffer.concat(records);
}

describe('readClientHello', () => {
  test('reads the client hello of RFC 8448', () => {
    expect(rfc8448).toHaveLength(201);
    expectHello(rfc8448, 'server', []);
  });

  test.each<[string, ConnectionOptions, string | undefined, string[]]>([
    [
      'TLS 1.3 with ALPN',
      { servername: 'Chat.Example.org', ALPNProtocols: ['imap'] },
      'chat.example.org',
      ['imap'],
    ],
    [
      'TLS 1.2 only',
      { servername: 'a.example', maxVersion: 'TLSv1.2', ALPNProtocols: ['smtp', 'x'] },
      'a.example',
      ['smtp', 'x'],
    ],
    ['neither name nor ALPN', {}, undefined, []],
    [
      'a post-quantum key share',
      { servername: 'a.example', ecdhCurve: 'X25519MLKEM768', ALPNProtocols: ['h2'] },
      'a.example',
      ['h2'],
    ],
  ])('reads a real client’s: %s', async (_, options, serverName, protocols) => {
    const hello = await helloOf(options);
    expectHello(hello, serverName, protocols);
    if (options.ecdhCurve !== undefined) expect(hello.length).toBeGreaterThan(1200);
  });

  test.each(recordedHellos)('reads what $client sends, however it comes', (recorded) => {
    const { serverName, protocols } = recorded;
    const bytes = Buffer.from(recorded.bytes);
    for (let length = 0; length < bytes.length; length++) {
      expect(readClientHello(bytes.subarray(0, length)).kind).toBe('incomplete');
    }
    for (const all of [bytes, refragment(bytes, 100)]) expectHello(all, serverName, protocols);
  });

  test('answers any damage to a real hello without throwing', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...recordedHellos),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(),
        ({ bytes }, changes, cut) => {
          const damaged = Buffer.from(bytes);
          for (const [at, value] of changes) damaged[at % damaged.length] = value;
          readClientHello(damaged.subarray(0, cut % (damaged.length + 1)));
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('does not care how it is split over records', async () => {
    const hello = await helloOf({ servername: 'a.example', ALPNProtocols: ['imap'] });
    for (const size of [10, 64, 200]) expectHello(refragment(hello, size), 'a.example', ['imap']);
    for (const size of [1, 2, 3]) expectHello(refragment(rfc8448, size), 'server', []);
  });

  test('asks for more until the last byte, and ignores what follows', () => {
    for (let length = 0; length < rfc8448.length; length++) {
      expect(readClientHello(rfc8448.subarray(0, length))).toMatchObject({ kind: 'incomplete' });
    }
    const split = refragment(rfc8448, 7);
    for (let length = 0; length < split.length; length++) {
      expect(readClientHello(split.subarray(0, length)).kind).toBe('incomplete');
    }
    expectHello(Buffer.concat([rfc8448, Uint8Array.of(22)]), 'server', []);
  });

  test.each([
    ['plain HTTP', 'GET / HTTP/1.1\r\n'],
    ['an SSH client', 'SSH-2.0-x\r\n'],
    ['SSLv2', '\x80\x2e\x01\x00\x02'],
    ['an empty record', '\x16\x03\x01\x00\x00'],
    ['a record of 64 kB', '\x16\x03\x01\xff\xff'],
    ['another handshake message', '\x16\x03\x01\x00\x04\x02\x00\x00\x00'],
    ['a hello larger than any', `\x16\x03\x01\x00\x04\x01\x01\x00\x00`],
  ])('refuses %s', (_, text) => {
    expect(readClientHello(Buffer.from(text, 'latin1'))).toMatchObject({ kind: 'refused' });
  });

  test('never holds more than its bound, nor looks more often than it has records', () => {
    const record = (...bytes: number[]) =>
      Uint8Array.of(22, 3, 1, bytes.length >> 8, bytes.length & 255, ...bytes);
    const trickle = Buffer.concat([record(1, 0, 63, 0), ...Array.from({ length: 4000 }, () => record(1))]);
    const heavy = Buffer.concat([
      record(1, 0, 63, 0),
      ...Array.from({ length: 4000 }, () => record(...Array<number>(60).fill(1))),
    ]);
    for (const endless of [trickle, heavy]) {
      const looks: number[] = [];
      let kind = 'incomplete';
      for (let length = 1, atLeast = 1; kind === 'incomplete'; length++) {
        if (length < atLeast) continue;
        const result = readClientHello(endless.subarray(0, length));
        ({ kind } = result);
        looks.push(length);
        if (result.kind === 'incomplete') atLeast = result.atLeastBytes;
      }
      expect(kind).toBe('refused');
      expect(looks.length).toBeLessThan(2 * 256 + 10);
      expect(looks.at(-1)).toBeLessThanOrEqual(maxReceivedBytes);
    }
  });

  test('is right about how many bytes it takes before the answer can change', () => {
    for (const hello of [rfc8448, refragment(rfc8448, 1), refragment(rfc8448, 7), refragment(rfc8448, 196)]) {
      for (let length = 1; length < hello.length; length++) {
        const result = readClientHello(hello.subarray(0, length));
        if (result.kind !== 'incomplete') throw new Error(`not incomplete after ${length} bytes`);
        expect(result.atLeastBytes).toBeGreaterThan(length);
        expect(result.atLeastBytes).toBeLessThanOrEqual(hello.length);
      }
    }
  });

  test('answers any bytes at all without throwing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.nat(200), (noise, at) => {
        readClientHello(noise);
        const damaged = Buffer.from(rfc8448);
        damaged.set(noise.subarray(0, Math.max(0, damaged.length - at)), at);
        readClientHello(damaged);
      }),
    );
  });
});
