/**
 * The real peer: Debian's Postfix on loopback, with our filter as its milter, from SMTP in to SMTP out. What
 * arrives at the other end is verified with dkimpy and mailauth.
 */
import { spawnSync } from 'node:child_process';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { chmod } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ByteBudget } from '../../../appliance/base/byte-budget.ts';
import { silentLog } from '../../../appliance/base/log.ts';
import { systemClock } from '../../../appliance/base/clock.ts';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { createDkimSigner } from '../../../appliance/filter/dkim-sign.ts';
import type { TxtResolver } from '../../../appliance/filter/dkim-verify.ts';
import { createMailFilter, type MailFilter } from '../../../appliance/filter/message-filter.ts';
import { applyEdits, encodeHeaders, type MailMessage } from '../../../appliance/filter/message.ts';
import { type MilterServer, startMilterServer } from '../../../appliance/milter/server.ts';
import {
  armor,
  encryptedBody,
  encryptedMessage,
  fields,
  newPacket,
  openpgpArmor,
  withHeader,
} from '../../fixtures/filter/messages.ts';
import { dkimJudges } from '../../oracles/dkim-judges.ts';
import { hasPostfix, openSmtp, type Postfix, startPostfix } from '../../oracles/postfix.ts';
import { type SmtpSink, startSmtpSink } from '../../oracles/smtp-sink.ts';

const domain = 'chat.example.org';
const alice = `alice@${domain}`;
const bob = 'bob@other.example.net';
const config = parseConfig({ domain, mail: { messageBurst: 5, messagesPerMinute: 1 } });
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const dkimKey = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const record = `v=DKIM1;k=rsa;p=${createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).toString('base64')}`;

let dnsWorks = true;
const resolveTxt: TxtResolver = () =>
  dnsWorks
    ? Promise.resolve([[record]])
    : Promise.reject(Object.assign(new Error('SERVFAIL'), { code: 'ESERVFAIL' }));

describe.skipIf(!hasPostfix && process.env['CI'] === undefined)('behind Postfix', () => {
  let sink: SmtpSink;
  let postfix: Postfix;
  let milter: MilterServer;
  let filter: MailFilter;

  beforeAll(async () => {
    expect(hasPostfix, 'Postfix is not installed, or this is not root').toBe(true);
    sink = await startSmtpSink((recipient) => recipient.startsWith('nobody'));
    postfix = await startPostfix({ domain, relayPort: sink.port });
    filter = createMailFilter({ config, dkimKey, resolveTxt, clock: systemClock, log: silentLog });
    milter = await startMilterServer({
      path: postfix.milterPath,
      handler: filter,
      log: silentLog,
      signal: new AbortController().signal,
      budget: new ByteBudget(256 * 1024 * 1024),
      maxMessageBytes: config.mail.maxMessageBytes,
      maxRecipients: 1000,
    });
    // On the device the directory's group lets Postfix in.
    await chmod(postfix.milterPath, 0o666);
  });

  afterAll(async () => {
    await milter?.close();
    await postfix?.[Symbol.asyncDispose]();
    await sink?.[Symbol.asyncDispose]();
  });

  const textOf = ({ headers, body }: MailMessage) =>
    Buffer.concat([encodeHeaders(headers), body])
      .toString('latin1')
      .replace(/\r\n$/, '');

  async function submit(message: MailMessage, login = message.sender) {
    using smtp = await openSmtp(postfix.submissionPort, login);
    return (await smtp.send(message.sender, message.recipients, textOf(message))).text;
  }

  async function deliver(message: MailMessage) {
    using smtp = await openSmtp(postfix.incomingPort);
    return (await smtp.send(message.sender, message.recipients, textOf(message))).text;
  }

  async function signedByOther(message: MailMessage): Promise<MailMessage> {
    const signer = createDkimSigner({
      key: dkimKey,
      selector: 's',
      domain: 'other.example.net',
      clock: systemClock,
    });
    return {
      ...message,
      headers: applyEdits(message.headers, await signer.sign(message.headers, message.body)),
    };
  }

  /** Header section and body of sunk bytes. */
  function parts(bytes: Buffer): [string, string] {
    const text = bytes.toString('latin1');
    const end = text.indexOf('\r\n\r\n');
    return [text.slice(0, end + 2), text.slice(end + 4)];
  }

  test('a user’s message leaves signed, private, and otherwise byte for byte as it came', async () => {
    const armored = await openpgpArmor('to a key');
    const message = encryptedMessage({ armor: armored });
    const odd = fields(
      'Received: from [10.0.0.5] by laptop',
      'X-Mailer:Foo',
      'X-Odd:no space',
      'X-Tab:\ttab  and   spaces ',
      'X-Folded: one\r\n\ttwo\r\n    three',
      'X-Empty:',
    );
    const sent = withHeader(
      { ...message, headers: [...odd, ...message.headers] },
      'Subject',
      'Meet me at nine',
    );
    expect(await submit(sent)).toMatch(/^250 /);
    const { bytes, sender } = await sink.next();
    expect(sender).toBe(alice);
    const [head, body] = parts(bytes);
    expect(body).toBe(message.body.toString('latin1'));
    const expected = withHeader({ ...sent, headers: sent.headers.slice(2) }, 'Subject', '[...]');
    const [ours] = head.split(/^X-Odd:/m);
    expect(ours).toMatch(/^DKIM-Signature: v=1; /);
    expect(head.slice(ours?.length)).toBe(encodeHeaders(expected.headers).toString('latin1').slice(0, -2));
    expect(head).not.toMatch(/^(Received|X-Mailer):/im);
    for (const judge of dkimJudges)
      expect([judge.name, await judge.verify(bytes, record)]).toEqual([judge.name, true]);
  });

  test('messages without Date, Message-ID and Subject, with 8-bit and dotted lines, are signed well', async () => {
    const message = withHeader(
      withHeader(encryptedMessage({ from: `two@${domain}` }), 'Date', null),
      'Message-ID',
      null,
    );
    const body = encryptedBody().replace(
      'Content-Disposition',
      '.dot: x\r\nX-Eight: \xc3\xa4\r\nContent-Disposition',
    );
    expect(
      await submit({ ...withHeader(message, 'Subject', null), body: Buffer.from(body, 'latin1') }),
    ).toMatch(/^250 /);
    const { bytes } = await sink.next();
    for (const judge of dkimJudges)
      expect([judge.name, await judge.verify(bytes, record)]).toEqual([judge.name, true]);
  });

  test('refusals reach the client word for word', async () => {
    const user = `three@${domain}`;
    expect(await submit(encryptedMessage({ from: user, body: 'Hello\r\n' }))).toBe(
      '523 5.7.1 Encryption Needed: Invalid Unencrypted Mail',
    );
    expect(await submit(encryptedMessage({ from: 'eve@example.net', sender: user }))).toBe(
      `500 5.7.1 Invalid FROM <eve@example.net> for <${user}>`,
    );
    expect(await submit(encryptedMessage({ from: user }), `eve@${domain}`)).toMatch(/^553 5\.7\.1 /);
    // A milter sees a header only up to a NUL, so Postfix has to refuse it (message_reject_characters).
    const nul = '550 5.7.1 disallowed character';
    expect(await submit(encryptedMessage({ from: user, body: `${encryptedBody()}\0` }))).toBe(nul);
    expect(await submit(withHeader(encryptedMessage({ from: user }), 'X-Nul', 'a\0b'))).toBe(nul);
    const noKey = encryptedMessage({ from: bob, recipients: [alice] });
    expect(await deliver(noKey)).toBe('554 5.7.1 No DKIM signature found');
    const broken = withHeader(await signedByOther(noKey), 'Date', 'today');
    expect(await deliver(broken)).toBe('554 5.7.1 No valid DKIM signature found');
  });

  test('too much mail is refused at the recipient', async () => {
    const user = `four@${domain}`;
    using smtp = await openSmtp(postfix.submissionPort, user);
    for (let count = 0; count < config.mail.messageBurst; count++) {
      await smtp.command(`MAIL FROM:<${user}>`);
      expect((await smtp.command(`RCPT TO:<${bob}>`)).code).toBe(250);
      await smtp.command('RSET');
    }
    await smtp.command(`MAIL FROM:<${user}>`);
    expect((await smtp.command(`RCPT TO:<${bob}>`)).text).toMatch(
      `450 4.7.1: Too much mail from <${user}>, try again in 60 s`,
    );
  });

  test('a signed message of another server comes in unchanged', async () => {
    const message = await signedByOther(encryptedMessage({ from: bob, recipients: [alice] }));
    expect(await deliver(message)).toMatch(/^250 /);
    const { bytes, sender } = await sink.next();
    expect(sender).toBe(bob);
    const text = bytes.toString('latin1');
    expect(text.slice(text.indexOf('DKIM-Signature:'))).toBe(`${textOf(message)}\r\n`);
    expect(text.slice(0, text.indexOf('DKIM-Signature:'))).toMatch(/^Received: [^]*\r\n$/);
  });

  test('a message sent on by a list gets the null sender', async () => {
    const message = await signedByOther(
      encryptedMessage({ from: bob, sender: 'list@lists.example.com', recipients: [alice] }),
    );
    expect(await deliver(message)).toMatch(/^250 /);
    expect((await sink.next()).sender).toBe('');
  });

  test('when DNS is down, the other server is asked to come again', async () => {
    dnsWorks = false;
    try {
      const message = await signedByOther(encryptedMessage({ from: bob, recipients: [alice] }));
      expect(await deliver(message)).toMatch(/^451 4\.7\.5 /);
    } finally {
      dnsWorks = true;
    }
  });

  test('a bounce that Postfix makes itself is signed', async () => {
    const user = `five@${domain}`;
    expect(await submit(encryptedMessage({ from: user, recipients: ['nobody@other.example.net'] }))).toMatch(
      /^250 /,
    );
    const { bytes, sender, recipients } = await sink.next();
    expect([sender, recipients]).toEqual(['', [user]]);
    const [head] = parts(bytes);
    expect(head).toMatch(/^From: .*<MAILER-DAEMON@chat\.example\.org>/m);
    for (const judge of dkimJudges)
      expect([judge.name, await judge.verify(bytes, record)]).toEqual([judge.name, true]);
    expect(filter.counts.accepted.internal).toBeGreaterThan(0);
  });

  test('a message of 20 MB passes', async () => {
    const data = Buffer.alloc(15_000_000, 0x61);
    const message = encryptedMessage({ from: `six@${domain}`, armor: armor(newPacket(18, data)) });
    expect(await submit(message)).toMatch(/^250 /);
    const { bytes } = await sink.next();
    expect(parts(bytes)[1]).toBe(message.body.toString('latin1'));
    for (const judge of dkimJudges)
      expect([judge.name, await judge.verify(bytes, record)]).toEqual([judge.name, true]);
  });

  test('Postfix had nothing to complain of', async () => {
    const complaints = (await postfix.log())
      .split('\n')
      .filter((line) => /warning|error|fatal|panic/.test(line) && /milter|cleanup|smtpd/i.test(line))
      // The directory of the socket is made with Postfix, so the milter can only start after it.
      .filter((line) => !/connect to Milter service .*: No such file/.test(line));
    expect(complaints).toEqual([]);
  });
});

describe('the judges', () => {
  test('dkimpy is here, or this is not CI', () => {
    const found = spawnSync('/usr/bin/python3', ['-c', 'import dkim']).status === 0;
    expect(found || process.env['CI'] === undefined).toBe(true);
  });
});
