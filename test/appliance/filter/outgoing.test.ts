import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { mailDomain } from '../../../appliance/contract/domain.ts';
import { applyEdits, type MailMessage } from '../../../appliance/filter/message.ts';
import { judgeOutgoing } from '../../../appliance/filter/outgoing.ts';
import {
  armor,
  boundary,
  deliveryReport,
  encryptedBody,
  encryptedMessage,
  fields,
  lines,
  newPacket,
  openpgpArmor,
  plausiblePackets,
  secureJoinMessage,
  withHeader,
} from '../../fixtures/filter/messages.ts';

const alice = 'alice@chat.example.org';
const encryptionNeeded = '523 5.7.1 Encryption Needed: Invalid Unencrypted Mail';

function reply(message: MailMessage, login: string | null = alice): string {
  const decision = judgeOutgoing(message, login);
  return decision.kind === 'reject' ? decision.reply : 'accept';
}

const setupMessage = (recipients: string[]): MailMessage => ({
  ...withHeader(encryptedMessage(), 'Content-Type', `multipart/mixed; boundary="${boundary}"`),
  recipients,
  headers: [
    ...fields(
      `From: ${alice}`,
      'Subject: Autocrypt Setup Message',
      `Content-Type: multipart/mixed; boundary="${boundary}"`,
    ),
  ],
});

describe('judgeOutgoing accepts', () => {
  test('an encrypted message as Delta Chat writes it', () => {
    expect(reply(encryptedMessage())).toBe('accept');
  });

  test.each(['to a key', 'to a password'] as const)('what OpenPGP.js encrypts %s', async (kind) => {
    expect(reply(encryptedMessage({ armor: await openpgpArmor(kind) }))).toBe('accept');
  });

  test('no blank lines around the parts', () => {
    const body = encryptedBody().replace(/^\r\n|\r\n$/g, '');
    expect(reply(encryptedMessage({ body }))).toBe('accept');
  });

  test.each(['vc-request', 'vg-request'])('the SecureJoin request %s', (step) => {
    expect(reply(secureJoinMessage(step))).toBe('accept');
    expect(reply(secureJoinMessage(step, `Secure-Join: ${step}`))).toBe('accept');
  });

  test('an Autocrypt Setup Message to oneself', () => {
    expect(reply(setupMessage([alice]))).toBe('accept');
    expect(reply(setupMessage(['ALICE@chat.example.org']))).toBe('accept');
  });

  test.each(['192.0.2.1', '2001:db8::1'])('users of the address %s', (address) => {
    const user = `alice@${mailDomain(parseConfig({ domain: address }).domain)}`;
    expect(reply(encryptedMessage({ from: user }), user)).toBe('accept');
  });
});

describe('judgeOutgoing refuses', () => {
  test('mail nobody signed in for', () => {
    expect(reply(encryptedMessage(), null)).toMatch(/^530 5\.7\.0 /);
    expect(reply(encryptedMessage(), '')).toMatch(/^530 5\.7\.0 /);
  });

  test('an envelope sender that is not the user', () => {
    expect(reply(encryptedMessage({ sender: 'bob@chat.example.org' }))).toMatch(
      /^553 5\.7\.1 <bob@chat\.example\.org>/,
    );
    expect(reply(encryptedMessage({ sender: '' }))).toMatch(/^500 5\.1\.7 /);
    expect(reply(encryptedMessage({ sender: 'alice' }))).toMatch(/^500 5\.1\.7 /);
  });

  test('a From that is not the sender, with the text of relay', () => {
    expect(reply(encryptedMessage({ from: 'eve@example.net', sender: alice }))).toBe(
      `500 5.7.1 Invalid FROM <eve@example.net> for <${alice}>`,
    );
  });

  test.each([
    ['none', []],
    ['two', [`From: ${alice}`, `From: ${alice}`]],
    ['two, one in other letters', [`From: ${alice}`, 'fROM: eve@example.net']],
    ['two addresses', [`From: ${alice}, eve@example.net`]],
    ['no address', ['From: Alice']],
  ])('a message with %s in From', (_, from) => {
    const headers = [...withHeader(encryptedMessage(), 'From', null).headers, ...fields(...from)];
    expect(reply(encryptedMessage({ headers }))).toBe('500 5.7.1 Invalid FROM header');
  });

  test.each(['Subject', 'To', 'Content-Type', 'MIME-Version', 'Date', 'Message-ID'])('two %s', (name) => {
    const message = encryptedMessage();
    const field = message.headers.find((one) => one.name === name);
    const headers = [...message.headers, { name: name.toLowerCase(), value: field?.value ?? '' }];
    expect(reply({ ...message, headers })).toBe(`554 5.6.0 More than one ${name} header`);
  });

  test.each([
    ['a NUL', `${encryptedBody()}\0`],
    ['a bare LF', encryptedBody().replace('Version: 1\r\n', 'Version: 1\n')],
    ['a bare CR', encryptedBody().replace('Version: 1\r\n', 'Version: 1\r')],
    ['a bare LF at the start', `\n${encryptedBody()}`],
    ['a bare CR at the end', `${encryptedBody()}\r`],
    ['SMTP smuggling', `${encryptedBody()}\n.\r\nMAIL FROM:<eve@example.net>\r\n`],
  ])('%s in the body', (_, body) => {
    expect(reply(encryptedMessage({ body }))).toMatch(/^554 5\.6\.0 /);
  });

  test.each(['X-A: a\nFrom: eve@example.net', 'X-A: a\r\nFrom: eve@example.net', 'X-A: \0', 'X A: b', ': b'])(
    'the header field %j',
    (field) => {
      const message = encryptedMessage();
      expect(reply({ ...message, headers: [...message.headers, ...fields(field)] })).toMatch(/^554 5\.6\.0 /);
    },
  );

  const part = (type: string, ...text: string[]) =>
    lines(`--${boundary}`, `Content-Type: ${type}`, '', ...text);
  const version = part('application/pgp-encrypted', 'Version: 1');
  const octets = (text: string) => part('application/octet-stream', text);
  const end = `--${boundary}--\r\n`;

  test.each([
    ['plain text', 'Hello'],
    ['an armor in plain text', armor(plausiblePackets)],
    ['one part', version + end],
    ['the encrypted part alone', octets(armor(plausiblePackets)) + end],
    ['the parts the other way round', octets(armor(plausiblePackets)) + version + end],
    ['a third part', version + octets(armor(plausiblePackets)) + part('text/plain', 'Hello') + end],
    ['a text before the parts', `Hello\r\n${version}${octets(armor(plausiblePackets))}${end}`],
    ['a text after the parts', `${version}${octets(armor(plausiblePackets))}${end}Hello\r\n`],
    [
      'the preamble of Thunderbird',
      `This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n${version}${octets(armor(plausiblePackets))}${end}`,
    ],
    [
      'another version',
      part('application/pgp-encrypted', 'Version: 2') + octets(armor(plausiblePackets)) + end,
    ],
    [
      'a text with the version',
      part('application/pgp-encrypted', 'Version: 1', 'Hello') + octets(armor(plausiblePackets)) + end,
    ],
    [
      'another type of the first part',
      part('text/plain', 'Version: 1') + octets(armor(plausiblePackets)) + end,
    ],
    ['another type of the second part', version + part('text/plain', armor(plausiblePackets)) + end],
    [
      'a nested multipart',
      version + part(`multipart/mixed; boundary=${boundary}x`, armor(plausiblePackets)) + end,
    ],
    ['a literal in the armor', version + octets(armor(newPacket(11, Buffer.from('Hello')))) + end],
    [
      'an armor with a Version line',
      version + octets(armor(plausiblePackets, { headers: ['Version: X'] })) + end,
    ],
    ['text under the armor', `${version}${octets(`${armor(plausiblePackets)}Hello`)}${end}`],
    [
      'two types in a part',
      `${version}${octets(armor(plausiblePackets)).replace('\r\n\r\n', '\r\nContent-Type: text/plain\r\n\r\n')}${end}`,
    ],
    ['no end', version + octets(armor(plausiblePackets))],
  ])('%s', (_, body) => {
    expect(reply(encryptedMessage({ body }))).toBe(encryptionNeeded);
  });

  test.each([
    'text/plain; x="application/pgp-encrypted"',
    `multipart/mixed; boundary="${boundary}"`,
    `multipart/encrypted; boundary="other"`,
    'multipart/encrypted',
    `multipart/encrypted; boundary=x; boundary="${boundary}"`,
    `multipart/encrypted, text/plain; boundary="${boundary}"`,
  ])('an encrypted body under the type %s', (contentType) => {
    expect(reply(encryptedMessage({ contentType }))).toBe(encryptionNeeded);
  });

  test('application/pgp-encrypted somewhere in a clear message', () => {
    const headers = withHeader(encryptedMessage(), 'Content-Type', 'text/plain').headers;
    const body = `${encryptedBody()}application/pgp-encrypted\r\n`;
    expect(reply(encryptedMessage({ headers, body }))).toBe(encryptionNeeded);
  });

  test.each([
    ['another step', secureJoinMessage('vc-auth-required')],
    ['another text', secureJoinMessage('vc-request', 'secure-join: vc-request\r\nHow are you?')],
    ['a header without the text', secureJoinMessage('vc-request', 'Hello')],
    ['the text without a header', withHeader(secureJoinMessage(), 'Secure-Join', null)],
    [
      'the header twice',
      {
        ...secureJoinMessage(),
        headers: [...secureJoinMessage().headers, ...fields('Secure-Join: vc-request')],
      },
    ],
    ['no multipart', withHeader(secureJoinMessage(), 'Content-Type', 'text/plain')],
    [
      'html',
      {
        ...secureJoinMessage(),
        body: Buffer.from(secureJoinMessage().body.toString().replace('plain', 'html')),
      },
    ],
  ])('a SecureJoin request with %s', (_, message) => {
    expect(reply(message)).toBe(encryptionNeeded);
  });

  test('an Autocrypt Setup Message to others', () => {
    expect(reply(setupMessage(['bob@chat.example.org']))).toBe(encryptionNeeded);
    expect(reply(setupMessage([alice, 'bob@chat.example.org']))).toBe(encryptionNeeded);
  });

  test('a delivery report: users do not write them', () => {
    const user = 'mailer-daemon@chat.example.org';
    const report = withHeader({ ...deliveryReport(), sender: user }, 'From', user);
    expect(reply(report, user)).toBe(encryptionNeeded);
  });

  test('a reply never carries what could end the line', () => {
    const message = encryptedMessage({ sender: 'a\r\n250 ok%s@b' });
    expect(reply(message)).toMatch(/^500 5\.1\.7 [ -~]*$/);
  });
});

describe('privacy of what leaves', () => {
  test('revealing fields go, the subject is hidden, all else keeps its bytes and its order', () => {
    const message = encryptedMessage();
    const [from, ...rest] = withHeader(message, 'Subject', null).headers;
    if (from === undefined) throw new Error('No From');
    const revealing = fields(
      'Received: from [10.0.0.5]\r\n\tby client',
      'received: again',
      'X-Mailer: Foo 1.0',
      'User-Agent: Foo',
      'X-Originating-IP: 10.0.0.5',
    );
    const headers = [from, ...revealing, ...fields('Subject:  Meet me\r\n at nine'), ...rest, ...revealing];
    const decision = judgeOutgoing({ ...message, headers }, alice);
    if (decision.kind === 'reject') throw new Error(decision.reply);
    expect(applyEdits(headers, decision.edits)).toEqual([
      from,
      { name: 'Subject', value: ' [...]' },
      ...rest,
    ]);
  });

  test('nothing is edited where nothing reveals', () => {
    expect(judgeOutgoing(encryptedMessage(), alice)).toEqual({ kind: 'accept', edits: [] });
  });
});
