import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { SmtpConnection, SmtpSessionError } from '../../../appliance/smtp/client.ts';
import { formatReply } from '../../../appliance/smtp/reply.ts';

const opened: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).toReversed()) await one[Symbol.asyncDispose]();
});

/** A server that is told line by line what to answer; undefined says nothing. */
async function serve(answer: (line: string, socket: Socket) => string | undefined, greeting = '220 mx\r\n') {
  const lines: string[] = [];
  const writes: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.write(greeting);
    let pending = '';
    socket.on('data', (chunk: Buffer) => {
      writes.push(chunk.toString());
      pending += chunk.toString();
      for (let end = pending.indexOf('\r\n'); end >= 0; end = pending.indexOf('\r\n')) {
        const line = pending.slice(0, end);
        pending = pending.slice(end + 2);
        lines.push(line);
        const text = answer(line, socket);
        if (text !== undefined) socket.write(text);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  opened.push({
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  });
  return { port: (server.address() as AddressInfo).port, lines, writes };
}

const connect = (port: number, timeoutMs = 5000) =>
  SmtpConnection.connect({
    host: '127.0.0.1',
    port,
    localName: 'chat.example.org',
    signal: AbortSignal.timeout(10_000),
    timeoutMs,
  });

/** A polite server; `overrides` by the first word. */
const polite =
  (overrides: Record<string, string | undefined> = {}, keywords: readonly string[] = []) =>
  (line: string): string | undefined => {
    const verb = line.split(' ')[0] ?? '';
    if (verb in overrides) return overrides[verb];
    if (verb === 'EHLO')
      return ['250-mx', ...keywords.map((word) => `250-${word}`), '250 HELP\r\n'].join('\r\n');
    if (verb === 'DATA') return '354 Go ahead\r\n';
    if (['MAIL', 'RCPT', '.', 'RSET'].includes(verb)) return '250 Ok\r\n';
    return undefined;
  };

const envelope = { sender: 'a@b.example', recipients: ['c@d.example', 'e@f.example'] };
const body = () => [Buffer.from('Hello\r\n')];

describe('SmtpConnection', () => {
  test('sends the envelope in one piece where the server can take that', async () => {
    const { port, writes } = await serve(polite({}, ['PIPELINING', 'SIZE 1000', '8BITMIME']));
    using connection = await connect(port);
    const replies = await connection.send({ ...envelope, body, sizeBytes: 7 });
    expect(replies.map(formatReply)).toEqual(['250 Ok', '250 Ok']);
    expect(writes).toContain(
      'MAIL FROM:<a@b.example> SIZE=7 BODY=8BITMIME\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<e@f.example>\r\nDATA\r\n',
    );
    expect(connection.isOpen).toBe(true);
  });

  test.each([
    ['refuses DATA then, as it must', '554 5.5.1 No valid recipients\r\n', true],
    ['would take a message for nobody', '354 Go ahead\r\n', false],
  ])('nothing is sent where nobody is taken and the server %s', async (_, data, staysOpen) => {
    const { port, lines } = await serve(polite({ RCPT: '550 5.1.1 No\r\n', DATA: data }, ['PIPELINING']));
    using connection = await connect(port);
    for (const allOrNothing of staysOpen ? [true, false] : [false]) {
      const replies = await connection.send({ ...envelope, body, allOrNothing });
      expect(replies.map(formatReply)).toEqual(['550 5.1.1 No', '550 5.1.1 No']);
    }
    expect(lines).not.toContain('Hello');
    expect(connection.isOpen).toBe(staysOpen);
  });

  test('and line by line where it cannot', async () => {
    const { port, lines } = await serve(polite());
    using connection = await connect(port);
    await connection.send({ ...envelope, body });
    expect(lines.slice(1)).toEqual([
      'MAIL FROM:<a@b.example>',
      'RCPT TO:<c@d.example>',
      'RCPT TO:<e@f.example>',
      'DATA',
      'Hello',
      '.',
    ]);
  });

  test('all or nothing sends nothing when one is refused, and stays usable', async () => {
    const { port, lines } = await serve((line) =>
      line.includes('e@f.example') ? '550 5.1.1 No\r\n' : polite()(line),
    );
    using connection = await connect(port);
    const replies = await connection.send({ ...envelope, body, allOrNothing: true });
    expect(replies.map(formatReply)).toEqual(['250 Ok', '550 5.1.1 No']);
    expect(lines).not.toContain('DATA');
    expect(lines.at(-1)).toBe('RSET');
    expect(connection.isOpen).toBe(true);
  });

  test.each([
    ['a greeting that refuses', '554 No\r\n', polite(), 'connect'],
    ['a server that is none', 'HTTP/1.1 400 Bad Request\r\n', polite(), 'connect'],
    ['EHLO refused', '220 mx\r\n', polite({ EHLO: '502 No\r\n' }), 'connect'],
  ])('%s ends the session', async (_, greeting, answer, stage) => {
    const { port } = await serve(answer, greeting);
    await expect(connect(port)).rejects.toMatchObject({ name: 'SmtpSessionError', stage });
  });

  test.each([
    ['in the envelope', 'RCPT', 'message'],
    ['after the end', '.', 'answer'],
  ])('a server that falls silent %s is left', async (_, verb, stage) => {
    const { port } = await serve(polite({ [verb]: undefined }));
    const connection = await connect(port, 100);
    const error: unknown = await connection.send({ ...envelope, body }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(SmtpSessionError);
    expect(error).toMatchObject({ stage });
    expect(connection.isOpen).toBe(false);
  });

  test('a refusal in the middle of the message is the answer', async () => {
    const { port } = await serve((line, socket) => {
      if (!line.startsWith('xx')) return polite()(line);
      socket.end('552 5.3.4 Too much\r\n');
      return undefined;
    });
    using connection = await connect(port);
    const endless = async function* () {
      for (let count = 0; count < 10_000; count++) {
        yield Buffer.from(`${'x'.repeat(998)}\r\n`);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const replies = await connection.send({ ...envelope, body: endless });
    expect(replies.map(formatReply)).toEqual(['552 5.3.4 Too much', '552 5.3.4 Too much']);
  });

  test('what stands before the handshake could be anybody’s, and ends it', async () => {
    const { port } = await serve(polite({ STARTTLS: '220 Ready\r\n250 injected\r\n' }, ['STARTTLS']));
    using connection = await connect(port);
    await expect(connection.startTls({ rejectUnauthorized: false })).rejects.toMatchObject({
      stage: 'starttls',
    });
  });

  test('a handshake that comes to nothing ends the session', async () => {
    const { port } = await serve((line, socket) => {
      if (line !== 'STARTTLS') return polite({}, ['STARTTLS'])(line);
      socket.write('220 Ready\r\n');
      socket.end('this is no TLS');
      return undefined;
    });
    using connection = await connect(port);
    await expect(connection.startTls({ rejectUnauthorized: false })).rejects.toMatchObject({
      stage: 'starttls',
    });
  });

  test.each([
    ['a line end in the sender', { ...envelope, sender: 'a@b.example>\r\nRCPT TO:<x@y.example' }],
    ['brackets in a recipient', { ...envelope, recipients: ['a@b.example> ORCPT=<'] }],
    ['no recipient', { ...envelope, recipients: [] }],
  ])('%s never reaches the wire', async (_, wrong) => {
    const { port, lines } = await serve(polite());
    using connection = await connect(port);
    await expect(connection.send({ ...wrong, body })).rejects.toThrow(RangeError);
    expect(lines).toHaveLength(1);
  });

  test('ends with its signal', async () => {
    const { port } = await serve(polite({ RCPT: undefined }));
    const stop = new AbortController();
    const connection = await SmtpConnection.connect({
      host: '127.0.0.1',
      port,
      localName: 'x',
      signal: stop.signal,
    });
    const sending = connection.send({ ...envelope, body });
    stop.abort(new Error('Stopped'));
    await expect(sending).rejects.toThrow('Stopped');
  });
});
