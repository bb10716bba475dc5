import { mkdtemp, rm, stat } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ByteBudget } from '../../../appliance/base/byte-budget.ts';
import { silentLog } from '../../../appliance/base/log.ts';
import { replyOf } from '../../../appliance/smtp/reply.ts';
import type { Deliver, OutgoingMessage } from '../../../appliance/transport/deliver.ts';
import { startTransportServer } from '../../../appliance/transport/server.ts';

let directory: string;
let path: string;
let server: AsyncDisposable;
let budget: ByteBudget;
let delivered: OutgoingMessage[];
let deliver: Deliver;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'transport-'));
  path = join(directory, 'transport.sock');
  budget = new ByteBudget(10_000);
  delivered = [];
  deliver = async (message) => {
    delivered.push(message);
    return message.recipients.map((recipient) =>
      replyOf(recipient.startsWith('nobody') ? '550 5.1.1 No such user' : '250 2.0.0 Ok'),
    );
  };
  server = await startTransportServer({
    path,
    deliver: (message, signal) => deliver(message, signal),
    budget,
    maxMessageBytes: 8000,
    maxRecipients: 50,
    log: silentLog,
  });
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

/** Says everything at once and returns the last lines of what comes back until the server closes. */
async function talk(text: string): Promise<string[]> {
  const socket = connect(path);
  socket.write(text);
  let heard = '';
  for await (const chunk of socket as AsyncIterable<Buffer>) heard += chunk.toString();
  return heard.trimEnd().split('\r\n');
}

const session = (body: string, recipients = ['a@b.example', 'nobody@b.example']) =>
  [
    'LHLO x',
    'MAIL FROM:<me@chat.example.org>',
    ...recipients.map((recipient) => `RCPT TO:<${recipient}>`),
    'DATA',
    `${body}\r\n.`,
    'QUIT',
    '',
  ].join('\r\n');

describe('startTransportServer', () => {
  test('gives each recipient a reply of its own, and keeps no memory of it', async () => {
    expect((await talk(session('Hello'))).slice(-3)).toEqual([
      '250 2.0.0 Ok',
      '550 5.1.1 No such user',
      '221 2.0.0 Bye',
    ]);
    expect(Buffer.concat(delivered[0]?.body ?? []).toString()).toBe('Hello\r\n');
    expect(delivered[0]).toMatchObject({ sender: 'me@chat.example.org', sizeBytes: 7 });
    expect(budget.usedBytes).toBe(0);
  });

  test('only the group may connect', async () => {
    expect((await stat(path)).mode & 0o777).toBe(0o660);
  });

  test('a message over the limit is refused, whatever was announced', async () => {
    expect((await talk(session('x'.repeat(8001)))).slice(-3, -1)).toEqual(
      Array(2).fill('552 5.3.4 Message exceeds maximum size'),
    );
    expect(delivered).toEqual([]);
    expect(budget.usedBytes).toBe(0);
  });

  test('when memory is short, the message waits in the queue', async () => {
    using other = budget.account();
    other.hold(5000);
    expect((await talk(session('x'.repeat(6000), ['a@b.example']))).at(-2)).toMatch(/^452 4\.3\.1 /);
    expect(budget.usedBytes).toBe(5000);
  });

  test('a delivery that fails inside means later', async () => {
    deliver = async () => {
      throw new Error('Broken');
    };
    expect((await talk(session('x', ['a@b.example']))).at(-2)).toBe(
      '451 4.3.0 Internal error, try again later',
    );
    expect(budget.usedBytes).toBe(0);
  });

  test('a delivery that never ends means later, and costs no memory for good', async () => {
    await server[Symbol.asyncDispose]();
    const never = Promise.withResolvers<never>().promise;
    server = await startTransportServer({
      path,
      deliver: () => never,
      budget,
      maxMessageBytes: 8000,
      maxRecipients: 50,
      log: silentLog,
      deliveryTimeoutMs: 50,
    });
    expect((await talk(session('Hello', ['a@b.example']))).at(-2)).toMatch(/^451 4\.3\.0 /);
    expect(budget.usedBytes).toBe(0);
  });

  test('stops in the middle of a delivery without an answer, so that Postfix keeps the message', async () => {
    const { promise: started, resolve } = Promise.withResolvers<void>();
    deliver = (_, signal) =>
      new Promise((__, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        resolve();
      });
    const heard = talk(session('x', ['a@b.example']));
    await started;
    await server[Symbol.asyncDispose]();
    expect((await heard).at(-1)).toBe('354 Go ahead');
    server = { [Symbol.asyncDispose]: async () => {} };
  });
});
