/**
 * The relay as strangers and clients meet it, over plain sockets: every refusal, and that what should pass
 * does. The real root filesystem and service table, in namespaces.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { builtRoot } from './built-image.ts';
import { ImapClient, SmtpClient, startTls } from '../oracles/mail-client.ts';
import { encryptedBody } from '../fixtures/filter/messages.ts';
import { encrypted } from './messages.ts';
import { clientAddress, RelayNamespace, waitUntil } from './relay-namespace.ts';

const domain = 'chat.test.example';
const password = 'correct-horse-battery';
let relay: RelayNamespace;
let made = 0;

beforeAll(async () => {
  relay = await RelayNamespace.start({
    rootImage: (await builtRoot()).path,
    config: {
      domain,
      comment: 'A relay under test',
      adminContact: 'mailto:admin@chat.test.example',
      mail: { messagesPerMinute: 60, messageBurst: 10, maxMessageBytes: 1_000_000 },
    },
  });
});
afterAll(async () => {
  await relay?.[Symbol.asyncDispose]();
});

/** An address nobody has used yet, of nine characters. */
function freshAddress(): string {
  return `user${String(++made).padStart(5, '0')}@${domain}`;
}

async function imaps(): Promise<ImapClient> {
  const client = new ImapClient(await startTls(await relay.connect(993), domain));
  await client.greeting();
  return client;
}

async function signedIn(address: string, secret = password): Promise<ImapClient> {
  const client = await imaps();
  expect(await client.login(address, secret)).toMatchObject({ status: 'OK' });
  return client;
}

async function submissions(): Promise<SmtpClient> {
  const client = new SmtpClient(await startTls(await relay.connect(465), domain));
  await client.reply();
  await client.command('EHLO client.example');
  return client;
}

async function sender(address: string, secret = password): Promise<SmtpClient> {
  const client = await submissions();
  expect(await client.login(address, secret)).toMatchObject({ code: 235 });
  return client;
}

/** Port 25 after EHLO, STARTTLS and EHLO. */
async function stranger(): Promise<SmtpClient> {
  const client = new SmtpClient(await relay.connect(25));
  await client.reply();
  await client.command('EHLO mx.example.net');
  expect(await client.command('STARTTLS')).toMatchObject({ code: 220 });
  await client.secure(domain);
  await client.command('EHLO mx.example.net');
  return client;
}

function cleartext(from: string): string {
  return `From: <${from}>\r\nTo: <x@example.net>\r\nSubject: Hi\r\nMIME-Version: 1.0\r\n\r\nIn the clear\r\n`;
}

/** Waits for the n-th message and returns it whole. */
async function fetchMessage(client: ImapClient, number = 1): Promise<string> {
  await waitUntil(
    async () => {
      const reply = await client.command('SELECT INBOX');
      return Number(/\* (\d+) EXISTS/.exec(reply.untagged)?.[1] ?? 0) >= number;
    },
    20_000,
    () => `message ${number}`,
  );
  return (await client.command(`FETCH ${number} BODY.PEEK[]`)).untagged;
}

describe('accounts', () => {
  test('come into being on the first sign-in over IMAP, and know their password ever after', async () => {
    const address = freshAddress();
    using first = await signedIn(address);
    expect((await first.command('SELECT INBOX')).status).toBe('OK');
    using _second = await signedIn(address);
    using wrong = await imaps();
    expect((await wrong.login(address, 'another-password')).text).toMatch(/^NO \[AUTHENTICATIONFAILED\]/);
  });

  test('come into being on the first sign-in over submission as well', async () => {
    const address = freshAddress();
    using _smtp = await sender(address);
    using _imap = await signedIn(address);
    using wrong = await submissions();
    expect(await wrong.login(address, 'another-password')).toMatchObject({ code: 535 });
  });

  test.each([
    ['a short password', `abcdefghi@${domain}`, 'short678'],
    ['another domain', 'abcdefghi@example.net', password],
    ['a short localpart', `abcdefgh@${domain}`, password],
    ['a long localpart', `abcdefghij@${domain}`, password],
    ['a character that is not allowed', `abc+efghi@${domain}`, password],
    ['no domain', 'abcdefghi', password],
  ])('are not made for %s, and the answer is that of a wrong password', async (_, address, secret) => {
    using imap = await imaps();
    const refused = await imap.login(address, secret);
    using again = await imaps();
    const known = freshAddress();
    (await signedIn(known))[Symbol.dispose]();
    const wrong = await again.login(known, 'another-password');
    const withoutSession = (text: string) => text.replace(/\[[^\]]*:\d\d:\d\d[^\]]*\]/, '');
    expect(withoutSession(refused.text)).toBe(withoutSession(wrong.text));
    using smtp = await submissions();
    expect(await smtp.login(address, secret)).toMatchObject({ code: 535 });
  });

  test('are one, however many sign in for the first time at once', async () => {
    const address = freshAddress();
    const replies = await Promise.all(
      Array.from({ length: 10 }, async (_, index) => {
        using client = await imaps();
        return (await client.login(address, `password-number-${index}`)).status;
      }),
    );
    expect(replies.filter((status) => status === 'OK')).toHaveLength(1);
  });
});

describe('IMAP', () => {
  test('tells clients before they sign in what kind of server this is', async () => {
    using client = new ImapClient(await startTls(await relay.connect(993), domain));
    const greeting = await client.greeting();
    const { untagged } = await client.command('CAPABILITY');
    for (const text of [greeting, untagged]) {
      expect(text).toContain('XCHATMAIL');
      expect(text).toContain('XDELTAPUSH');
      expect(text).not.toContain('COMPRESS');
    }
  });

  test('takes no password on port 143 before STARTTLS, and works after it', async () => {
    using client = new ImapClient(await relay.connect(143));
    expect(await client.greeting()).toContain('LOGINDISABLED');
    expect((await client.login(freshAddress(), password)).status).not.toBe('OK');
    expect((await client.command('STARTTLS')).status).toBe('OK');
    await client.secure(domain);
    expect((await client.login(freshAddress(), password)).status).toBe('OK');
  });

  test('answers metadata of the relay and keeps device tokens', async () => {
    using client = await signedIn(freshAddress());
    const { untagged } = await client.command(
      'GETMETADATA "" (/shared/comment /shared/admin /shared/vendor/deltachat/maxsmtprecipients)',
    );
    expect(untagged).toContain('A relay under test');
    expect(untagged).toContain('mailto:admin@chat.test.example');
    expect(untagged).toMatch(/maxsmtprecipients (?:"1000"|\{4\}\r\n1000)/);
    for (const token of ['1111', '2222']) {
      expect((await client.command(`SETMETADATA "INBOX" (/private/devicetoken "${token}")`)).status).toBe(
        'OK',
      );
    }
    expect((await client.command('GETMETADATA "INBOX" /private/devicetoken')).untagged).toContain(
      '1111 2222',
    );
  });

  test('reports a quota of 500 MiB', async () => {
    using client = await signedIn(freshAddress());
    expect((await client.command('GETQUOTAROOT INBOX')).untagged).toMatch(/STORAGE \d+ 512000/);
  });
});

describe('submission', () => {
  test('delivers what is encrypted, with nothing of the sender’s whereabouts or subject', async () => {
    const [from, to] = [freshAddress(), freshAddress()];
    using inbox = await signedIn(to);
    using smtp = await sender(from);
    const message = encrypted(from, 'Secret plans', 'User-Agent: Spy/1.0\r\nX-Originating-IP: 203.0.113.9');
    expect(await smtp.send(from, [to], message)).toMatchObject({ code: 250 });
    const delivered = await fetchMessage(inbox);
    expect(delivered).toContain('Subject: [...]');
    for (const trace of [
      'Secret plans',
      clientAddress,
      '203.0.113.9',
      'Spy/1.0',
      'Received:',
      'client.example',
    ]) {
      expect(delivered).not.toContain(trace);
    }
    expect(delivered).toContain(encryptedBody().trimEnd());
  });

  test.each([
    ['text in the clear', (from: string) => [from, cleartext(from)], 523, 'Encryption Needed'],
    [
      'a From that is somebody else',
      (from: string) => [from, encrypted(`other0001@${domain}`)],
      500,
      'Invalid FROM',
    ],
    [
      'an envelope that is somebody else',
      (from: string) => [`other0001@${domain}`, encrypted(from)],
      553,
      'not owned',
    ],
    ['two From headers', (from: string) => [from, `From: <${from}>\r\n${encrypted(from)}`], 500, ''],
  ] as const)('refuses %s', async (_, make, code, text) => {
    const [from, to] = [freshAddress(), freshAddress()];
    (await signedIn(to))[Symbol.dispose]();
    using smtp = await sender(from);
    const [envelope = '', message = ''] = make(from);
    const reply = await smtp.send(envelope, [to], message);
    expect(reply.code).toBe(code);
    expect(reply.text).toContain(text);
  });

  test('refuses everything from who has not signed in', async () => {
    using smtp = await submissions();
    expect((await smtp.send(freshAddress(), [freshAddress()], 'x')).code).toBeGreaterThanOrEqual(500);
    using onward = await submissions();
    expect((await onward.send('a@example.net', ['b@example.org'], 'x')).code).toBeGreaterThanOrEqual(500);
  });

  test('offers no sign-in on port 587 before STARTTLS', async () => {
    using client = new SmtpClient(await relay.connect(587));
    await client.reply();
    const { text } = await client.command('EHLO client.example');
    expect(text).not.toContain('AUTH');
    expect(text).toContain('STARTTLS');
    expect((await client.command('MAIL FROM:<a@example.net>')).code).toBe(530);
    expect(await client.command('STARTTLS')).toMatchObject({ code: 220 });
    await client.secure(domain);
    expect((await client.command('EHLO client.example')).text).toContain('AUTH PLAIN');
    expect(await client.login(freshAddress(), password)).toMatchObject({ code: 235 });
  });

  test('refuses a message over the limit, announced or not', async () => {
    const from = freshAddress();
    using smtp = await sender(from);
    expect(await smtp.command(`MAIL FROM:<${from}> SIZE=1000001`)).toMatchObject({ code: 552 });
    const reply = await smtp.send(
      from,
      [from],
      `${encrypted(from)}\r\n${'x'.repeat(70)}\r\n`.padEnd(1_100_000, 'y\r\n'),
    );
    expect(reply.code).toBe(552);
  });

  test('slows down who sends too much, after a burst', async () => {
    const from = freshAddress();
    using smtp = await sender(from);
    const codes: number[] = [];
    for (let index = 0; index < 16; index++) {
      using again = index === 0 ? smtp : await sender(from);
      const reply = await again.send(from, [from], encrypted(from));
      codes.push(reply.code);
      if (reply.code === 450) {
        expect(reply.text).toContain('Too much mail');
        break;
      }
    }
    expect(codes.slice(0, 10)).toEqual(Array(10).fill(250));
    expect(codes.at(-1)).toBe(450);
  });

  test('is not fooled by line endings that other servers read as the end of a message', async () => {
    const from = freshAddress();
    for (const smuggled of ['\n.\r\n', '\r\n.\n', '\n.\n', '\r.\r']) {
      using smtp = await sender(from);
      for (const line of [`MAIL FROM:<${from}>`, `RCPT TO:<${from}>`, 'DATA']) await smtp.command(line);
      smtp.write(`${encrypted(from)}${smuggled}MAIL FROM:<${from}>\r\n.\r\n`);
      const reply = await smtp.reply();
      expect(reply.code).toBeGreaterThanOrEqual(500);
    }
  });

  test('returns a bounce for a local address that does not exist', async () => {
    const from = freshAddress();
    using inbox = await signedIn(from);
    using smtp = await sender(from);
    expect(await smtp.send(from, [`nobody123@${domain}`], encrypted(from))).toMatchObject({ code: 250 });
    expect(await fetchMessage(inbox)).toMatch(/multipart\/report/);
  });
});

describe('IDLE', () => {
  test('hears of mail that comes just as the connection is put to sleep', { timeout: 120_000 }, async () => {
    const people = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const address = freshAddress();
        const inbox = await signedIn(address);
        await inbox.command('SELECT INBOX');
        return { address, inbox };
      }),
    );
    for (let round = 0; round < 10; round++) {
      await Promise.all(
        people.map(async ({ address, inbox }, index) => {
          inbox.write('idle IDLE\r\n');
          await inbox.read(/\+ idling\r\n/);
          // Connections hibernate after a second.
          await new Promise((resolve) => setTimeout(resolve, 940 + index * 12 + round));
          using smtp = await sender(address);
          expect(await smtp.send(address, [address], encrypted(address))).toMatchObject({ code: 250 });
          await inbox.read(/\* \d+ EXISTS\r\n/);
          inbox.write('DONE\r\n');
          await inbox.read(/idle OK [^\n]*\n/);
        }),
      );
    }
    for (const { inbox } of people) inbox[Symbol.dispose]();
  });
});

describe('port 25', () => {
  test('wants TLS before anything else, and never a password', async () => {
    using client = new SmtpClient(await relay.connect(25));
    await client.reply();
    const { text } = await client.command('EHLO mx.example.net');
    expect(text).toContain('STARTTLS');
    expect(text).not.toContain('AUTH');
    expect(await client.command('MAIL FROM:<a@example.net>')).toMatchObject({ code: 530 });
    using secure = await stranger();
    expect((await secure.command('EHLO mx.example.net')).text).not.toContain('AUTH');
  });

  test('relays for nobody', async () => {
    using client = await stranger();
    expect(await client.send('a@example.net', ['b@example.org'], 'x')).toMatchObject({ code: 554 });
  });

  test('takes no mail without a DKIM signature, and none in the clear', async () => {
    const to = freshAddress();
    (await signedIn(to))[Symbol.dispose]();
    using client = await stranger();
    const unsigned = await client.send('a@example.net', [to], encrypted('a@example.net'));
    expect(unsigned.text).toBe('554 5.7.1 No DKIM signature found');
    using again = await stranger();
    expect((await again.send('a@example.net', [to], cleartext('a@example.net'))).code).toBe(523);
  });

  test('gives the same answers for addresses that exist and that do not', async () => {
    const known = freshAddress();
    (await signedIn(known))[Symbol.dispose]();
    using client = await stranger();
    const replies: string[][] = [];
    for (const address of [known, `nobody456@${domain}`]) {
      await client.command('MAIL FROM:<a@example.net>');
      const rcpt = await client.command(`RCPT TO:<${address}>`);
      const vrfy = await client.command(`VRFY ${address}`);
      await client.command('RSET');
      replies.push([rcpt.text, vrfy.text].map((text) => text.replaceAll(address, 'ADDRESS')));
    }
    expect(replies[0]).toEqual(replies[1]);
    expect(replies[0]?.[1]).toContain('252');
  });
});

describe('the disk', () => {
  test('holds no password and no message of an address nobody made', async () => {
    const users = await readdir(join(relay.dataDirectory, 'mail', domain));
    expect(users.some((name) => name.startsWith('nobody'))).toBe(false);
  });
});
