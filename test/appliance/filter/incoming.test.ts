import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { judgeIncoming } from '../../../appliance/filter/incoming.ts';
import type { MailMessage } from '../../../appliance/filter/message.ts';
import {
  armor,
  config,
  deliveryReport,
  encryptedBody,
  encryptedMessage,
  fields,
  plausiblePackets,
  secureJoinMessage,
  withHeader,
} from '../../fixtures/filter/messages.ts';

const bob = 'bob@other.example.net';
const toNullSender = { kind: 'changeFrom', address: '<>', args: '' };
const encryptionNeeded = '523 5.7.1 Encryption Needed: Invalid Unencrypted Mail';

function judge(message: MailMessage, domain = config.domain) {
  const judgement = judgeIncoming(message, domain);
  return judgement.kind === 'reject' ? judgement.reply : judgement;
}

describe('judgeIncoming', () => {
  test('accepts encrypted mail, to be signed by the domain of From', () => {
    expect(judge(encryptedMessage({ from: bob }))).toEqual({
      kind: 'accept',
      edits: [],
      signedBy: 'other.example.net',
    });
    expect(judge(encryptedMessage({ from: 'Bob@Other.Example.NET' }))).toMatchObject({
      signedBy: 'other.example.net',
    });
  });

  test('accepts SecureJoin requests', () => {
    expect(judge(secureJoinMessage())).toMatchObject({ kind: 'accept', signedBy: 'chat.example.org' });
  });

  test('accepts delivery reports of mail systems', () => {
    expect(judge(deliveryReport())).toMatchObject({ kind: 'accept', edits: [] });
  });

  test.each([
    ['by a person', withHeader(deliveryReport(), 'From', bob)],
    ['that was not sent automatically', withHeader(deliveryReport(), 'Auto-Submitted', null)],
    ['with an empty Auto-Submitted', withHeader(deliveryReport(), 'Auto-Submitted', '')],
    ['of another type', withHeader(deliveryReport(), 'Content-Type', 'text/plain')],
  ])('refuses a delivery report %s', (_, message) => {
    expect(judge(message)).toBe(encryptionNeeded);
  });

  test('a sender who is not the author becomes the null sender', () => {
    expect(judge(encryptedMessage({ from: bob, sender: 'list@lists.example.com' }))).toMatchObject({
      edits: [toNullSender],
      signedBy: 'other.example.net',
    });
    expect(judge(encryptedMessage({ from: bob, sender: 'BOB@other.example.net' }))).toMatchObject({
      edits: [],
    });
    expect(judge(encryptedMessage({ from: bob, sender: '' }))).toMatchObject({ edits: [] });
    expect(judge(encryptedMessage({ from: bob, sender: '"odd sender"@example.com' }))).toMatchObject({
      edits: [toNullSender],
    });
  });

  test('takes the version line and the preamble that other programs write', () => {
    const versioned = armor(plausiblePackets, { headers: ['Version: GnuPG v2'] });
    expect(judge(encryptedMessage({ from: bob, armor: versioned }))).toMatchObject({ kind: 'accept' });
    const preamble = 'This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\r\n';
    expect(
      judge(encryptedMessage({ from: bob, body: preamble + encryptedBody().trimStart() })),
    ).toMatchObject({
      kind: 'accept',
    });
    const more = 'This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156), and hello\r\n';
    expect(judge(encryptedMessage({ from: bob, body: more + encryptedBody().trimStart() }))).toBe(
      encryptionNeeded,
    );
  });

  test('takes an armor transferred as base64 or quoted-printable', () => {
    const as = (encoding: string, armored: string) =>
      encryptedBody(armored).replace(/7bit(?=[^]*--eJ8ds0vCbAY--)(?![^]*7bit)/, encoding);
    const base64 = Buffer.from(armor(plausiblePackets)).toString('base64').replace(/.{76}/g, '$&\r\n');
    const quoted = armor(plausiblePackets).replace(/=+(?=\r\n)/g, (equals) => '=3D'.repeat(equals.length));
    expect(judge(encryptedMessage({ from: bob, body: as('base64', base64) }))).toMatchObject({
      kind: 'accept',
    });
    expect(judge(encryptedMessage({ from: bob, body: as('quoted-printable', quoted) }))).toMatchObject({
      kind: 'accept',
    });
    expect(judge(encryptedMessage({ from: bob, body: as('base64', armor(plausiblePackets)) }))).toBe(
      encryptionNeeded,
    );
  });

  test('refuses clear text, broken lines and repeated fields', () => {
    expect(judge(encryptedMessage({ from: bob, body: 'Hello\r\n' }))).toBe(encryptionNeeded);
    expect(judge(encryptedMessage({ from: bob, body: 'Hello\n' }))).toMatch(/^554 5\.6\.0 /);
    const message = encryptedMessage({ from: bob });
    const twice = (field: string) => ({ ...message, headers: [...message.headers, ...fields(field)] });
    expect(judge(twice('content-type: text/plain'))).toBe('554 5.6.0 More than one Content-Type header');
    expect(judge(twice(`From: ${bob}`))).toBe('500 5.7.1 Invalid FROM header');
  });

  test('refuses a From that is no address, or of no domain', () => {
    for (const from of ['Bob', 'bob@192.0.2.9', 'bob@localhost', 'bob@[nonsense]']) {
      expect(judge(withHeader(encryptedMessage({ from: bob }), 'From', from))).toBe(
        '500 5.7.1 Invalid FROM header',
      );
    }
  });

  test('an address literal needs no signature, unless it is our own', () => {
    const own = parseConfig({ domain: '192.0.2.1' }).domain;
    expect(judge(encryptedMessage({ from: 'bob@[198.51.100.7]' }), own)).toMatchObject({ signedBy: null });
    expect(judge(encryptedMessage({ from: 'bob@[IPv6:2001:db8::7]' }), own)).toMatchObject({
      signedBy: null,
    });
    expect(judge(encryptedMessage({ from: 'bob@[192.0.2.1]' }), own)).toMatch(/^554 5\.7\.1 /);
  });

  test('our own name needs our own signature', () => {
    expect(judge(encryptedMessage({ from: 'eve@chat.example.org' }))).toMatchObject({
      signedBy: 'chat.example.org',
    });
  });
});
