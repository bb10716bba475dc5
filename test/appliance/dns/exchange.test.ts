/** The client against real sockets, answered with dns-packet. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import packet, { type Packet } from 'dns-packet';
import { afterEach, describe, expect, test } from 'vitest';
import { exchange, exchangeBytes, NoAnswerError } from '../../../appliance/dns/exchange.ts';
import { emptyMessage, type Message } from '../../../appliance/dns/message.ts';

const query: Message = { ...emptyMessage, questions: [{ name: 'chat.example.org', type: 'A', class: 1 }] };
const open: (Socket | Server)[] = [];

afterEach(async () => {
  for (const one of open.splice(0)) await new Promise<void>((resolve) => void one.close(() => resolve()));
});

type Answerer = (asked: Packet, times: number) => (Buffer | 'silent')[];

async function udp(answer: Answerer): Promise<number> {
  const socket = createSocket('udp4');
  open.push(socket);
  let times = 0;
  socket.on('message', (bytes, from) => {
    for (const reply of answer(packet.decode(bytes), ++times)) {
      if (reply !== 'silent') socket.send(reply, from.port, from.address);
    }
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket.address().port;
}

async function tcp(port: number, send: (bytes: Buffer) => Buffer[]): Promise<void> {
  const server = createServer((socket) => {
    socket.on('data', (bytes: Buffer) => {
      for (const part of send(bytes)) socket.write(part);
    });
    socket.on('error', () => {});
  });
  open.push(server);
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
}

const replyTo = (asked: Packet, fields: Partial<Packet> = {}, flags = 0) =>
  Buffer.from(
    packet.encode({
      type: 'response',
      id: asked.id ?? 0,
      flags,
      questions: asked.questions ?? [],
      answers: [{ type: 'A', name: 'chat.example.org', ttl: 60, data: '192.0.2.1' }],
      ...fields,
    }),
  );
const at = (port: number) => ({ address: '127.0.0.1', port });
const signal = AbortSignal.timeout(10_000);

describe('exchange', () => {
  test('brings the answer', async () => {
    const port = await udp((asked) => [replyTo(asked)]);
    expect((await exchange(at(port), query, { signal })).answers).toMatchObject([{ value: '192.0.2.1' }]);
  });

  test('passes over what is not the answer', async () => {
    const port = await udp((asked) => [
      Buffer.from('nonsense'),
      replyTo({ ...asked, id: ((asked.id ?? 0) + 1) % 65_536 }, { answers: [] }),
      replyTo(asked, { questions: [{ type: 'A', name: 'other.example.org' }], answers: [] }),
      replyTo(asked),
    ]);
    expect((await exchange(at(port), query, { signal })).answers).toHaveLength(1);
  });

  test('asks again when nothing comes', async () => {
    const port = await udp((asked, times) => [times === 1 ? 'silent' : replyTo(asked)]);
    const reply = await exchange(at(port), query, { signal, timeoutMs: 100 });
    expect(reply.answers).toHaveLength(1);
  });

  test('goes on over TCP when the answer was cut, however it arrives', async () => {
    let asked: Packet = {};
    const port = await udp((packetAsked) => [
      replyTo(packetAsked, { answers: [] }, packet.TRUNCATED_RESPONSE),
    ]);
    await tcp(port, (bytes) => {
      asked = packet.decode(bytes.subarray(2));
      const reply = replyTo(asked);
      const framed = Buffer.concat([Buffer.from([reply.length >> 8, reply.length & 0xff]), reply]);
      return framed
        .toString('latin1')
        .split('')
        .map((byte) => Buffer.from(byte, 'latin1'));
    });
    expect((await exchange(at(port), query, { signal })).answers).toMatchObject([{ value: '192.0.2.1' }]);
    expect(asked.questions).toMatchObject([{ name: 'chat.example.org', type: 'A' }]);
  });

  test('says why there is no answer', async () => {
    const silent = await udp(() => ['silent']);
    await expect(exchange(at(silent), query, { signal, timeoutMs: 50 })).rejects.toMatchObject({
      reason: 'timeout',
    });
    const closed = await udp(() => []);
    await new Promise<void>((resolve) => void open.pop()?.close(() => resolve()));
    await expect(exchange(at(closed), query, { signal, timeoutMs: 500 })).rejects.toMatchObject({
      reason: 'refused',
    });
    await expect(exchange(at(closed), query, { signal, tcp: true })).rejects.toBeInstanceOf(NoAnswerError);
  });

  test('an address this machine has no way to is called that', async () => {
    // The documentation prefix is routed nowhere; with IPv6 it times out instead.
    const attempt = exchange({ address: '2001:db8::53' }, query, { signal, timeoutMs: 100, attempts: 1 });
    await expect(attempt).rejects.toMatchObject({ reason: expect.stringMatching(/unreachable|timeout/) });
  });

  test('a TCP answer that breaks off or is another one is refused', async () => {
    const port = await udp(() => ['silent']);
    await tcp(port, () => [Buffer.from([0, 4, 1, 2, 3, 4])]);
    await expect(exchange(at(port), query, { signal, tcp: true })).rejects.toMatchObject({
      reason: 'malformed',
    });
    const bytes = await exchangeBytes(at(port), Buffer.from('x'), { signal });
    expect([...bytes]).toEqual([1, 2, 3, 4]);
  });

  test('stops when told to', async () => {
    const port = await udp(() => ['silent']);
    const controller = new AbortController();
    const stopped = expect(exchange(at(port), query, { signal: controller.signal })).rejects.toThrow(
      'enough',
    );
    controller.abort(new Error('enough'));
    await stopped;
    await expect(
      exchange(at(port), query, { signal: AbortSignal.abort(new Error('before')) }),
    ).rejects.toThrow('before');
  });
});
