import { once } from 'node:events';
import { createServer as createHttpServer, request as httpRequest, type Server } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
import { maxRequestHeaderBytes } from '../../../appliance/mxdeliv/envelope.ts';
import { createMxDelivHandler, type MxDelivOptions } from '../../../appliance/mxdeliv/handler.ts';
import { startSmtpSink } from '../../oracles/smtp-sink.ts';

const limits = { maxMessageBytes: 100_000, maxRecipients: 100 };
const message = 'From: <bob@other.example>\r\n\r\nHello\r\n';

const opened: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).toReversed()) await one[Symbol.asyncDispose]();
});

async function serve(
  injectionPort: number,
  options: Partial<MxDelivOptions> = {},
): Promise<{ port: number; server: Server }> {
  const handler = createMxDelivHandler({
    limits: () => limits,
    injectionPort,
    localName: 'chat.example.org',
    log: silentLog,
    ...options,
  });
  const server = createHttpServer({ maxHeaderSize: maxRequestHeaderBytes(limits.maxRecipients) }, handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  opened.push({
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      handler[Symbol.dispose]();
    },
  });
  return { port: (server.address() as AddressInfo).port, server };
}

async function sinkServer(refuse?: (recipient: string) => boolean) {
  const sink = await startSmtpSink(refuse);
  opened.push(sink);
  return sink;
}

interface Answer {
  readonly status: number | undefined;
  readonly text: string;
}

async function post(
  port: number,
  headers: Record<string, string | string[]>,
  body: string | Buffer = message,
  method = 'POST',
): Promise<Answer> {
  const outgoing = httpRequest({ port, host: '127.0.0.1', path: '/mxdeliv', method, headers });
  outgoing.on('error', () => {});
  outgoing.end(body);
  const [response] = (await once(outgoing, 'response')) as [{ statusCode: number } & AsyncIterable<Buffer>];
  let text = '';
  for await (const chunk of response) text += chunk.toString();
  return { status: response.statusCode, text: text.trim() };
}

const envelope = { 'X-MAIL-FROM': 'bob@other.example', 'X-MAIL-TO': 'alice@chat.example.org' };

/** A Postfix that says what a test wants, when it wants. */
async function scripted(converse: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.write('220 mx\r\n');
    converse(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  opened.push({
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  });
  return (server.address() as AddressInfo).port;
}

describe('a message', () => {
  test('reaches Postfix byte for byte, with its envelope', async () => {
    const sink = await sinkServer();
    const { port } = await serve(sink.port);
    const text = `${message}.\r\n..leading dots\r\n\r\n.\r\n`;
    const to = ['alice@chat.example.org', 'carol@chat.example.org'];
    expect(await post(port, { ...envelope, 'X-MAIL-TO': to }, text)).toEqual({
      status: 200,
      text: '250 2.0.0 Ok',
    });
    const { sender, recipients, bytes } = await sink.next();
    expect({ sender, recipients, text: bytes.toString() }).toEqual({
      sender: 'bob@other.example',
      recipients: to,
      text,
    });
  });

  test('without X-MAIL-FROM has the null sender', async () => {
    const sink = await sinkServer();
    const { port } = await serve(sink.port);
    expect((await post(port, { 'X-MAIL-TO': envelope['X-MAIL-TO'] })).status).toBe(200);
    expect((await sink.next()).sender).toBe('');
  });

  test('may come in chunks of unknown sum, and as one after another over one connection', async () => {
    const sink = await sinkServer();
    const { port } = await serve(sink.port);
    for (let round = 0; round < 3; round++) {
      const answer = await post(port, { ...envelope, 'transfer-encoding': 'chunked' }, message);
      expect(answer.status).toBe(200);
      expect((await sink.next()).bytes.toString()).toBe(message);
    }
  });

  test('is refused for all when one recipient is', async () => {
    const sink = await sinkServer((recipient) => recipient.startsWith('nobody'));
    const { port } = await serve(sink.port);
    const to = ['alice@chat.example.org', 'nobody@chat.example.org'];
    expect(await post(port, { ...envelope, 'X-MAIL-TO': to })).toEqual({
      status: 400,
      text: '550 5.1.1 No such user',
    });
    expect((await post(port, envelope)).status).toBe(200);
    expect((await sink.next()).recipients).toEqual(['alice@chat.example.org']);
  });
});

describe('an envelope', () => {
  test.each([
    ['no recipient', { 'X-MAIL-FROM': 'a@b.example' }],
    ['two senders', { ...envelope, 'X-MAIL-FROM': ['a@b.example', 'c@b.example'] }],
    ['a sender that is no address', { ...envelope, 'X-MAIL-FROM': 'bob' }],
    ['a recipient that is no address', { ...envelope, 'X-MAIL-TO': 'alice@chat.example.org> SIZE=1' }],
    ['two recipients in one header', { ...envelope, 'X-MAIL-TO': 'a@b.example, c@b.example' }],
    ['an empty recipient', { ...envelope, 'X-MAIL-TO': '' }],
    ['a source route', { ...envelope, 'X-MAIL-TO': '@a.example:b@c.example' }],
    ['an address with a tab', { ...envelope, 'X-MAIL-TO': 'a\tb@c.example' }],
    [
      'too many recipients',
      { ...envelope, 'X-MAIL-TO': Array.from({ length: 101 }, (_, index) => `u${index}@chat.example.org`) },
    ],
  ])('with %s is refused before Postfix hears of it', async (_, headers) => {
    const { port } = await serve(1);
    const answer = await post(port, headers);
    expect(answer.status).toBe(400);
    expect(answer.text).toMatch(/^5\d\d 5\.\d\.\d /);
  });

  test('may have as many recipients as the limit says', async () => {
    const sink = await sinkServer();
    const { port } = await serve(sink.port);
    const to = Array.from({ length: 100 }, (_, index) => `${'u'.repeat(60)}${index}@chat.example.org`);
    expect((await post(port, { ...envelope, 'X-MAIL-TO': to })).status).toBe(200);
    expect((await sink.next()).recipients).toEqual(to);
  });

  test('makes nobody hold more of a request than 64 KiB, whatever the limit says', () => {
    expect(maxRequestHeaderBytes(10)).toBeLessThan(16 * 1024);
    expect(maxRequestHeaderBytes(10_000)).toBe(64 * 1024);
  });
});

describe('limits', () => {
  test.each([
    ['announced', {}],
    ['in chunks', { 'transfer-encoding': 'chunked' }],
  ])('a message too large is refused, %s', async (_, headers) => {
    const sink = await sinkServer();
    const { port } = await serve(sink.port);
    const text = `${message}${'x'.repeat(78)}\r\n`.repeat(1000);
    expect(await post(port, { ...envelope, ...headers }, text)).toEqual({
      status: 413,
      text: '552 Message exceeds maximum size',
    });
  });

  test('other methods are not allowed', async () => {
    const { port } = await serve(1);
    expect((await post(port, envelope, '', 'GET')).status).toBe(405);
    expect((await post(port, envelope, message, 'PUT')).status).toBe(405);
  });

  test.each([
    ['', { maxConcurrent: 1 }],
    [' of one address', { maxPerClient: 1 }],
  ])('one too many at once%s is told to come again, and the others are served', async (_, limit) => {
    const sink = await sinkServer();
    const { port, server } = await serve(sink.port, limit);
    const slow = httpRequest({
      port,
      host: '127.0.0.1',
      method: 'POST',
      headers: { ...envelope, 'content-length': String(message.length) },
    });
    const arrived = once(server, 'request');
    slow.write(message.slice(0, 10));
    await arrived;
    expect(await post(port, envelope)).toEqual({ status: 503, text: '421 4.3.2 Transport busy' });
    slow.end(message.slice(10));
    const [response] = (await once(slow, 'response')) as [{ statusCode: number; resume: () => void }];
    response.resume();
    expect(response.statusCode).toBe(200);
    await expect.poll(async () => (await post(port, envelope)).status).toBe(200);
  });

  test.each(['a\nb\r\n', 'a\r\n.\nMAIL FROM:<x@y.example>\r\n', 'a\rb\r\n'])(
    'a bare line end in %j is refused, and nothing is delivered',
    async (text) => {
      const sink = await sinkServer();
      const { port } = await serve(sink.port);
      expect(await post(port, envelope, message + text)).toEqual({
        status: 400,
        text: '554 5.6.0 Bare CR or bare LF refused',
      });
      expect((await post(port, envelope)).status).toBe(200);
      expect((await sink.next()).bytes.toString()).toBe(message);
    },
  );

  test('who drips is cut off', async () => {
    const sink = await sinkServer();
    const { port } = await serve(sink.port, { timeoutMs: 50 });
    const slow = httpRequest({
      port,
      host: '127.0.0.1',
      method: 'POST',
      headers: { ...envelope, 'content-length': '1000' },
    });
    slow.on('error', () => {});
    slow.write('x');
    const [response] = (await once(slow, 'response')) as [{ statusCode: number; resume: () => void }];
    response.resume();
    expect(response.statusCode).toBe(400);
    slow.destroy();
  });
});

describe('trouble', () => {
  test('a peer that leaves in the middle leaves nothing behind: Postfix never hears an end', async () => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const injection = await scripted((socket) => {
      let heard = '';
      socket.on('data', (chunk: Buffer) => {
        heard += chunk.toString();
        if (heard.endsWith('DATA\r\n')) socket.write('354 go\r\n');
        else if (!heard.includes('DATA\r\n')) socket.write('250 ok\r\n');
      });
      socket.on('close', () => resolve(heard));
    });
    const { port } = await serve(injection);
    const leaving = connect(port, '127.0.0.1');
    leaving.write(
      `POST /mxdeliv HTTP/1.1\r\nHost: x\r\nX-MAIL-TO: a@chat.example.org\r\nContent-Length: 500\r\n\r\nSubject: x\r\n`,
    );
    await once(leaving, 'connect');
    // Once the first bytes are through, the rest never comes.
    const { promise: through, resolve: seen } = Promise.withResolvers<void>();
    const timer = setInterval(() => leaving.bytesWritten > 0 && seen(), 5);
    await through;
    clearInterval(timer);
    leaving.destroy();
    const heard = await promise;
    expect(heard).not.toMatch(/\r\n\.\r\n/);
  });

  test('a Postfix that is away means "later"', async () => {
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    const injection = (closed.address() as AddressInfo).port;
    await new Promise((resolve) => closed.close(resolve));
    const { port } = await serve(injection);
    expect(await post(port, envelope)).toEqual({
      status: 400,
      text: '451 4.3.0 Temporary failure, try again later',
    });
  });

  test('what the filter says after the end is what the peer hears', async () => {
    const injection = await scripted((socket) => {
      let heard = '';
      socket.on('data', (chunk: Buffer) => {
        heard += chunk.toString();
        if (heard.endsWith('DATA\r\n')) socket.write('354 go\r\n');
        else if (heard.endsWith('\r\n.\r\n')) socket.write('523 5.7.1 Encryption Needed\r\n');
        else if (!heard.includes('DATA\r\n')) socket.write('250 ok\r\n');
      });
    });
    const { port } = await serve(injection);
    expect(await post(port, envelope)).toEqual({ status: 400, text: '523 5.7.1 Encryption Needed' });
  });

  test('a kept connection that Postfix has closed in the meantime does no harm', async () => {
    let connections = 0;
    const injection = await scripted((socket) => {
      connections++;
      let heard = '';
      socket.on('data', (chunk: Buffer) => {
        heard += chunk.toString();
        if (heard.endsWith('DATA\r\n')) socket.write('354 go\r\n');
        else if (heard.endsWith('\r\n.\r\n')) socket.end('250 taken\r\n');
        else if (!heard.includes('DATA\r\n')) socket.write('250 ok\r\n');
      });
    });
    const { port } = await serve(injection);
    for (let round = 1; round <= 3; round++) {
      expect(await post(port, envelope)).toEqual({ status: 200, text: '250 taken' });
      expect(connections).toBe(round);
    }
  });
});
