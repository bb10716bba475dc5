import { beforeEach, describe, expect, test } from 'vitest';
import { ByteBudget } from '../../../appliance/base/byte-budget.ts';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { actions, type Command, protocolFlags } from '../../../appliance/milter/codec.ts';
import {
  maxHeaderLines,
  type MilterMessage,
  MilterSession,
  type MilterVerdict,
} from '../../../appliance/milter/session.ts';

const { signal } = new AbortController();
const offer: Command = { kind: 'negotiate', version: 6, actions: 0x1ff, protocol: 0x1fffff };
const mail: Command = { kind: 'mail', address: '<alice@chat.example.org>', args: [] };
const rcpt: Command = { kind: 'rcpt', address: '<bob@other.example.net>', args: [] };
const header = (value: string, name = 'Subject'): Command => ({ kind: 'header', name, value });
const body = (text: string): Command => ({ kind: 'body', chunk: Buffer.from(text, 'latin1') });
const end = (text = ''): Command => ({ kind: 'endOfBody', chunk: Buffer.from(text, 'latin1') });
const macros = (stage: string, values: Record<string, string>): Command => ({
  kind: 'macros',
  stage,
  macros: new Map(Object.entries(values)),
});

let messages: MilterMessage[];
let verdict: MilterVerdict;
let budget: ByteBudget;
let session: MilterSession;

function open(maxMessageBytes = 1000, maxRecipients = 3): MilterSession {
  return new MilterSession(
    {
      recipient: (_, recipient) => (recipient.startsWith('no') ? '450 4.7.1 Not now' : null),
      message: (message) => {
        messages.push(message);
        return Promise.resolve(verdict);
      },
    },
    { maxMessageBytes, maxRecipients, budget },
  );
}

async function send(...commands: Command[]) {
  const replies = [];
  for (const command of commands) {
    const answer = await session.respond(command, { signal });
    if (answer === 'close') return 'close';
    replies.push(...answer);
  }
  return replies;
}

beforeEach(async () => {
  messages = [];
  verdict = { kind: 'accept', edits: [] };
  budget = new ByteBudget(100_000);
  session = open();
  await send(offer);
});

describe('MilterSession negotiation', () => {
  test('asks for what it needs, and to be spared the rest', async () => {
    session = open();
    const [reply] = await send(offer);
    expect(reply).toMatchObject({
      kind: 'negotiate',
      version: 6,
      actions: actions.addHeaders | actions.changeHeaders | actions.changeFrom,
    });
    if (reply === undefined || typeof reply === 'string' || reply.kind !== 'negotiate')
      throw new Error('No reply');
    expect(reply.protocol & protocolFlags.headerLeadingSpace).toBeTruthy();
    for (const wanted of ['noConnect', 'noMail', 'noRcpt', 'noHeaders', 'noBody', 'noReplyRcpt'] as const) {
      expect(reply.protocol & protocolFlags[wanted]).toBe(0);
    }
  });

  test('answers each step to an MTA that wants an answer', async () => {
    session = open();
    await send({ kind: 'negotiate', version: 6, actions: 0x1ff, protocol: protocolFlags.headerLeadingSpace });
    expect(
      await send(
        { kind: 'helo', name: 'x' },
        mail,
        rcpt,
        { kind: 'data' },
        header(' a'),
        { kind: 'endOfHeaders' },
        body('x'),
      ),
    ).toEqual(Array.from({ length: 7 }, () => ({ kind: 'continue' })));
  });

  test.each([
    ['an older protocol', { version: 2 }],
    ['no header changes', { actions: 0x1ff & ~actions.changeHeaders }],
    ['no sender change', { actions: 0x3f }],
    ['no leading space', { protocol: 0xfffff }],
  ])('refuses an MTA with %s', async (_, lack) => {
    session = open();
    await expect(
      send({ kind: 'negotiate', version: 6, actions: 0x1ff, protocol: 0x1fffff, ...lack }),
    ).rejects.toThrow(ProtocolError);
  });
});

describe('MilterSession', () => {
  test('collects a message with exact header values, CRLF folds, and all macros', async () => {
    await send(
      macros('C', { j: 'chat', daemon_name: 'ORIGINATING' }),
      { kind: 'connect', host: '[192.0.2.1]', family: 'inet', port: 1, address: '192.0.2.1' },
      macros('M', { auth_authen: 'alice' }),
      mail,
      rcpt,
      macros('T', { i: 'QUEUEID' }),
    );
    const replies = await send(header('  two\n\tlines '), header('', 'X-Empty'), body('one\r\n'), end('two'));
    expect(replies).toEqual([{ kind: 'accept' }]);
    expect(messages).toMatchObject([
      {
        sender: 'alice@chat.example.org',
        recipients: ['bob@other.example.net'],
        client: { address: '192.0.2.1' },
        headers: [
          { name: 'Subject', value: '  two\r\n\tlines ' },
          { name: 'X-Empty', value: '' },
        ],
        body: Buffer.from('one\r\ntwo'),
      },
    ]);
    expect(Object.fromEntries(messages[0]?.macros ?? [])).toEqual({
      j: 'chat',
      daemon_name: 'ORIGINATING',
      auth_authen: 'alice',
      i: 'QUEUEID',
    });
  });

  test('sends edits before accepting, folds as bare LF', async () => {
    verdict = {
      kind: 'accept',
      edits: [
        { kind: 'insertHeader', index: 0, name: 'X', value: ' a\r\n\tb' },
        { kind: 'changeFrom', address: '<>', args: '' },
      ],
    };
    expect(await send(mail, rcpt, end())).toEqual([
      { kind: 'continue' },
      { kind: 'insertHeader', index: 0, name: 'X', value: ' a\n\tb' },
      { kind: 'changeFrom', address: '<>', args: '' },
      { kind: 'accept' },
    ]);
  });

  test('several messages, with macros of their own', async () => {
    await send(macros('C', { j: 'chat' }), macros('M', { auth_authen: 'alice' }), mail, rcpt, end('1'));
    verdict = { kind: 'reject', reply: '523 5.7.1 No' };
    expect(await send(mail, rcpt, end('2'))).toEqual([
      { kind: 'continue' },
      { kind: 'replyCode', text: '523 5.7.1 No' },
    ]);
    expect(messages.map((message) => message.body.toString())).toEqual(['1', '2']);
    expect(messages.map((message) => message.macros.get('auth_authen'))).toEqual(['alice', undefined]);
    expect(messages[1]?.macros.get('j')).toBe('chat');
  });

  test('an aborted message leaves nothing behind', async () => {
    await send(macros('C', { j: 'chat' }), mail, rcpt, header(' old'), body('old'), { kind: 'abort' });
    expect(budget.usedBytes).toBe(0);
    await send(mail, rcpt, body('new'), end());
    expect(messages).toMatchObject([
      { headers: [], body: Buffer.from('new'), recipients: ['bob@other.example.net'] },
    ]);
  });

  test('mail again, without an abort, begins anew', async () => {
    await send(mail, rcpt, mail, rcpt, end('x'));
    expect(messages[0]?.recipients).toHaveLength(1);
  });

  test('refused recipients do not count, and there is a limit', async () => {
    const to = (name: string): Command => ({ kind: 'rcpt', address: `<${name}@b>`, args: [] });
    expect(await send(mail, to('no'), to('a'), to('b'), to('c'), to('d'))).toEqual([
      { kind: 'replyCode', text: '450 4.7.1 Not now' },
      { kind: 'continue' },
      { kind: 'continue' },
      { kind: 'continue' },
      { kind: 'replyCode', text: '452 4.5.3 Too many recipients' },
    ]);
    await send(end());
    expect(messages[0]?.recipients).toEqual(['a@b', 'b@b', 'c@b']);
  });

  test('the null sender, with and without brackets', async () => {
    for (const address of ['<>', '']) await send({ kind: 'mail', address, args: [] }, rcpt, end());
    expect(messages.map((message) => message.sender)).toEqual(['', '']);
  });

  test('a message of exactly the limit passes, one byte more does not', async () => {
    const name = 'A';
    const headerBytes = name.length + 1 + 3;
    await send(mail, rcpt, header(' ', name), end('x'.repeat(1000 - headerBytes)));
    expect(messages).toHaveLength(1);
    expect(
      await send(mail, rcpt, header(' ', name), body('x'.repeat(1000 - headerBytes)), end('y')),
    ).toContainEqual({
      kind: 'replyCode',
      text: '552 5.3.4 Message exceeds maximum size',
    });
    expect(messages).toHaveLength(1);
    expect(budget.usedBytes).toBe(0);
  });

  test('too large a message is dropped at once, not at its end', async () => {
    session = open(50_000);
    await send(offer, mail, rcpt, body('x'.repeat(40_000)));
    expect(budget.usedBytes).toBe(80_000);
    await send(body('x'.repeat(10_001)));
    expect(budget.usedBytes).toBe(0);
  });

  test('a header section of too many lines is refused', async () => {
    session = open(1_000_000);
    await send(offer, mail, rcpt);
    expect(await send(header('\n '.repeat(maxHeaderLines)), end())).toMatchObject([
      { text: expect.stringMatching(/^552 5\.3\.4/) },
    ]);
  });

  test('all sessions share one budget, and what does not fit comes later', async () => {
    session = open(90_000);
    const other = open(90_000);
    for (const command of [offer, mail, rcpt, body('x'.repeat(40_000))])
      await other.respond(command, { signal });
    expect(await send(offer, mail, rcpt, body('x'.repeat(40_000)), end())).toMatchObject([
      { kind: 'negotiate' },
      { kind: 'continue' },
      { kind: 'replyCode', text: expect.stringMatching(/^451 4\.3\.0 /) },
    ]);
    other.dispose();
    expect(budget.usedBytes).toBe(0);
    expect(await send(mail, rcpt, body('x'.repeat(40_000)), end())).toContainEqual({ kind: 'accept' });
  });

  test('quit closes; quit for a new connection forgets the old client', async () => {
    await send(macros('C', { j: 'one' }), { kind: 'connect', host: 'h', family: 'unknown' }, mail, body('x'));
    await send({ kind: 'quitNewConnection' });
    expect(budget.usedBytes).toBe(0);
    await send(mail, rcpt, end());
    expect(messages).toMatchObject([{ client: null, macros: new Map() }]);
    expect(await send({ kind: 'quit' })).toBe('close');
  });

  test.each([
    ['recipients before mail', [rcpt]],
    ['a header before mail', [header('')]],
    ['a body before mail', [body('')]],
    ['an end before mail', [end()]],
    ['a header after the body', [mail, body('x'), header('')]],
    ['a recipient after the headers', [mail, header(''), rcpt]],
    ['a second negotiation', [offer]],
    ['macros of an unknown stage', [macros('Z', {})]],
  ])('refuses %s', async (_, commands) => {
    await expect(send(...commands)).rejects.toThrow(ProtocolError);
  });

  test('refuses everything before the negotiation', async () => {
    session = open();
    await expect(send(mail)).rejects.toThrow(ProtocolError);
  });

  test('gives the memory back when the handler fails', async () => {
    session = new MilterSession(
      { recipient: () => null, message: () => Promise.reject(new Error('broken')) },
      { maxMessageBytes: 1000, maxRecipients: 1, budget },
    );
    await expect(send(offer, mail, rcpt, body('x'), end())).rejects.toThrow('broken');
    expect(budget.usedBytes).toBe(0);
    expect(session.failureReplies()).toMatchObject([{ text: expect.stringMatching(/^451 4\.3\.0 /) }]);
  });
});
