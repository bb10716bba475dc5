import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ByteBudget } from '../../../appliance/base/byte-budget.ts';
import { createLog, type LogFields } from '../../../appliance/base/log.ts';
import { MilterClient } from '../../../appliance/milter/client.ts';
import { type MilterServerOptions, startMilterServer } from '../../../appliance/milter/server.ts';
import type { MilterMessage, MilterVerdict } from '../../../appliance/milter/session.ts';
import { encryptedMessage } from '../../fixtures/filter/messages.ts';

let directory: string;
let path: string;
let stop: AbortController;
let logged: LogFields[];
let budget: ByteBudget;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'milter-'));
  path = join(directory, 'milter.sock');
  stop = new AbortController();
  logged = [];
  budget = new ByteBudget(200_000_000);
});

afterEach(async () => {
  stop.abort();
  await rm(directory, { recursive: true });
});

function start(
  message: (message: MilterMessage) => Promise<MilterVerdict> = () =>
    Promise.resolve({ kind: 'accept', edits: [] }),
  options: Partial<MilterServerOptions> = {},
) {
  return startMilterServer({
    path,
    handler: { recipient: () => null, message },
    log: createLog('milter', (line) => logged.push(JSON.parse(line) as LogFields)),
    signal: stop.signal,
    budget,
    maxMessageBytes: 40_000_000,
    maxRecipients: 1000,
    ...options,
  });
}

const connect = () => MilterClient.connect(path, { signal: stop.signal });

describe('startMilterServer', () => {
  test('carries a message of many chunks unchanged, and the verdict back', async () => {
    const seen: MilterMessage[] = [];
    await using _ = await start((message) => {
      seen.push(message);
      return Promise.resolve({
        kind: 'accept',
        edits: [{ kind: 'changeHeader', index: 1, name: 'Subject', value: ' x' }],
      });
    });
    const body = Buffer.alloc(5_000_000, 'All work and no play\r\n');
    const message = { ...encryptedMessage(), body };
    using client = await connect();
    const outcome = await client.send(message);
    expect(outcome).toMatchObject({ result: 'accept', edits: [{ name: 'Subject', value: ' x' }] });
    expect(seen[0]?.headers).toEqual(message.headers);
    expect(seen[0]?.body.equals(body)).toBe(true);
    expect(budget.usedBytes).toBe(0);
  });

  test('many connections at once, several messages each, do not mix', async () => {
    await using _ = await start((message) =>
      Promise.resolve({ kind: 'reject', reply: `550 5.7.1 ${message.body.toString()} of ${message.sender}` }),
    );
    const talk = async (name: string) => {
      using client = await connect();
      for (const text of ['one', 'two', 'three']) {
        const outcome = await client.send({ ...encryptedMessage(), sender: name, body: Buffer.from(text) });
        expect(outcome.result).toBe(`550 5.7.1 ${text} of ${name}`);
      }
    };
    await Promise.all(Array.from({ length: 50 }, (_, at) => talk(`user${at}`)));
  });

  test('a slow handler holds back only its own connection', async () => {
    const release = Promise.withResolvers<MilterVerdict>();
    await using _ = await start((message) =>
      message.sender === 'slow' ? release.promise : Promise.resolve({ kind: 'accept', edits: [] }),
    );
    using slow = await connect();
    const outcome = slow.send({ ...encryptedMessage(), sender: 'slow' });
    using quick = await connect();
    expect((await quick.send(encryptedMessage())).result).toBe('accept');
    release.resolve({ kind: 'reject', reply: '550 5.7.1 At last' });
    expect((await outcome).result).toBe('550 5.7.1 At last');
  });

  test('a handler that fails costs the message a 451, not the connection', async () => {
    let fails = true;
    await using _ = await start(() =>
      fails ? Promise.reject(new Error('broken')) : Promise.resolve({ kind: 'accept', edits: [] }),
    );
    using client = await connect();
    expect((await client.send(encryptedMessage())).result).toMatch(/^451 4\.3\.0 /);
    expect(logged).toMatchObject([{ level: 'error', event: 'milter-handler', error: 'broken' }]);
    fails = false;
    expect((await client.send(encryptedMessage())).result).toBe('accept');
  });

  test('a peer that breaks the protocol is disconnected, and said so in the log', async () => {
    await using _ = await start();
    using client = await connect();
    client.write([{ kind: 'endOfBody', chunk: Buffer.alloc(0) }]);
    await expect(client.read()).rejects.toThrow('closed the connection');
    expect(logged).toMatchObject([{ event: 'milter-connection' }]);
  });

  test('a length no packet has ends the connection before anything is kept', async () => {
    await using _ = await start();
    const socket = createConnection(path);
    socket.write(Buffer.from('7fffffff4f', 'hex'));
    await once(socket, 'close');
    expect(logged).toMatchObject([{ event: 'milter-connection' }]);
  });

  test('a peer that goes away in the middle gives its memory back', async () => {
    const gone = Promise.withResolvers<void>();
    await using _ = await start();
    const client = await connect();
    client.write([
      { kind: 'mail', address: '<a@b>', args: [] },
      { kind: 'rcpt', address: '<a@b>', args: [] },
      { kind: 'body', chunk: Buffer.alloc(60_000) },
    ]);
    await client.read();
    const watch = setInterval(() => {
      if (budget.usedBytes === 0) gone.resolve();
    }, 1);
    client[Symbol.dispose]();
    await gone.promise;
    clearInterval(watch);
  });

  test('a connection that stays quiet is closed', async () => {
    await using _ = await start(undefined, { idleTimeoutMs: 20 });
    using client = await connect();
    await expect(client.read()).rejects.toThrow('closed the connection');
  });

  test('connections beyond the limit are turned away', async () => {
    await using _ = await start(undefined, { maxConnections: 1 });
    using _first = await connect();
    await expect(connect()).rejects.toThrow();
  });

  test('takes the place of a socket that a killed process left behind', async () => {
    await writeFile(path, '');
    await using _ = await start();
    using client = await connect();
    expect((await client.send(encryptedMessage())).result).toBe('accept');
  });

  test('the signal ends it, and every connection', async () => {
    await start();
    using client = await connect();
    stop.abort();
    await expect(client.read()).rejects.toThrow('closed the connection');
    await expect(MilterClient.connect(path, { signal: AbortSignal.timeout(1000) })).rejects.toThrow();
  });
});
