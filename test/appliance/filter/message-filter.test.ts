import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ByteBudget } from '../../../appliance/base/byte-budget.ts';
import { createLog, silentLog } from '../../../appliance/base/log.ts';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { createDkimSigner } from '../../../appliance/filter/dkim-sign.ts';
import { createDkimVerifier, type TxtResolver } from '../../../appliance/filter/dkim-verify.ts';
import { createMailFilter, type MailFilter } from '../../../appliance/filter/message-filter.ts';
import { applyEdits, type MailMessage } from '../../../appliance/filter/message.ts';
import { MilterClient } from '../../../appliance/milter/client.ts';
import { type MilterServer, startMilterServer } from '../../../appliance/milter/server.ts';
import { config, deliveryReport, encryptedMessage, withHeader } from '../../fixtures/filter/messages.ts';

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const dkimKey = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const record = `v=DKIM1;k=rsa;p=${createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).toString('base64')}`;
const clock = { nowMs: 0, monotonicMs: () => clock.nowMs, wallMs: () => Date.UTC(2026, 10, 20) };
const { signal } = new AbortController();
const alice = 'alice@chat.example.org';
const bob = 'bob@other.example.net';

let dnsFailure: string | null;
const resolveTxt: TxtResolver = (name) => {
  const code = dnsFailure ?? (name.endsWith('.example.com') ? 'ENOTFOUND' : null);
  return code === null
    ? Promise.resolve([[record]])
    : Promise.reject(Object.assign(new Error(code), { code }));
};

let directory: string;
let lines: string[];
let filter: MailFilter;
let server: MilterServer;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'filter-'));
  dnsFailure = null;
  lines = [];
  filter = createMailFilter({
    config,
    dkimKey,
    resolveTxt,
    clock,
    log: createLog('filter', (line) => lines.push(line)),
  });
  server = await startMilterServer({
    path: join(directory, 's'),
    handler: filter,
    log: silentLog,
    signal,
    budget: new ByteBudget(10_000_000),
    maxMessageBytes: config.mail.maxMessageBytes,
    maxRecipients: 1000,
  });
});

afterEach(async () => {
  await server.close();
  await rm(directory, { recursive: true });
});

async function send(message: MailMessage, daemonName: string, login?: string) {
  using client = await MilterClient.connect(join(directory, 's'), {
    signal,
    macros: { daemon_name: daemonName },
  });
  return await client.send({
    ...message,
    ...(login === undefined ? {} : { macros: { auth_authen: login } }),
  });
}

const submit = (message: MailMessage, login = alice) => send(message, 'ORIGINATING', login);
const deliver = (message: MailMessage) => send(message, 'chat.example.org');

/** As the server of `domain` would have sent it. */
async function signedBy(domain: string, message: MailMessage): Promise<MailMessage> {
  const signer = createDkimSigner({ key: dkimKey, selector: 's', domain, clock });
  return {
    ...message,
    headers: applyEdits(message.headers, await signer.sign(message.headers, message.body)),
  };
}

describe('mail of our users', () => {
  test('is taken, loses its subject, and carries a signature over what it then is', async () => {
    const message = withHeader(withHeader(encryptedMessage(), 'Subject', 'Meet me'), 'User-Agent', 'Foo');
    const outcome = await submit(message);
    expect(outcome.result).toBe('accept');
    const sent = applyEdits(message.headers, outcome.edits as never);
    expect(sent.map((field) => field.name)).not.toContain('User-Agent');
    expect(sent.filter((field) => field.name === 'Subject')).toEqual([{ name: 'Subject', value: ' [...]' }]);
    const verifier = createDkimVerifier({ resolveTxt, clock });
    // On the wire folds are LF: back to what they are in the mail.
    const headers = sent.map(({ name, value }) => ({ name, value: value.replace(/\r?\n/g, '\r\n') }));
    expect(await verifier.verify({ headers, body: message.body }, 'chat.example.org', { signal })).toBe(
      'pass',
    );
    expect(filter.counts).toMatchObject({ accepted: { outgoing: 1 }, signed: 1 });
  });

  test('is refused when it is in the clear, or not by the user who signed in', async () => {
    expect((await submit(encryptedMessage({ body: 'Hello' }))).result).toBe(
      '523 5.7.1 Encryption Needed: Invalid Unencrypted Mail',
    );
    expect((await submit(encryptedMessage(), 'eve@chat.example.org')).result).toMatch(/^553 /);
    expect((await send(encryptedMessage(), 'ORIGINATING')).result).toMatch(/^530 /);
    expect(filter.counts).toMatchObject({ rejected: { outgoing: 3 }, unencrypted: { outgoing: 1 } });
  });

  test('has a rate, refused at the recipient as on relay', async () => {
    for (let sent = 0; sent < config.mail.messageBurst; sent++) {
      expect((await submit(encryptedMessage({ recipients: ['a@b.example', 'c@b.example'] }))).result).toBe(
        'accept',
      );
    }
    const outcome = await submit(encryptedMessage());
    expect(outcome.result).toBe(`450 4.7.1: Too much mail from <${alice}>, try again in 1 s`);
    expect(outcome.refused.size).toBe(1);
    expect(filter.counts.rateLimited).toBe(1);
    expect(
      (await submit(encryptedMessage({ from: 'other@chat.example.org' }), 'other@chat.example.org')).result,
    ).toBe('accept');
    clock.nowMs += 1000;
    expect((await submit(encryptedMessage())).result).toBe('accept');
  });

  test('of an address literal is not signed', async () => {
    const user = 'alice@[192.0.2.1]';
    const unsigned = createMailFilter({
      config: parseConfig({ domain: '192.0.2.1' }),
      dkimKey,
      resolveTxt,
      clock,
      log: silentLog,
    });
    const message = { ...encryptedMessage({ from: user }), client: null };
    const macros = new Map([
      ['daemon_name', 'ORIGINATING'],
      ['auth_authen', user],
    ]);
    expect(await unsigned.message({ ...message, macros }, { signal })).toEqual({ kind: 'accept', edits: [] });
  });
});

describe('mail of other servers', () => {
  test('is taken when the domain of its author signed it', async () => {
    const message = await signedBy('other.example.net', encryptedMessage({ from: bob }));
    expect(await deliver(message)).toMatchObject({ result: 'accept', edits: [] });
  });

  test('gets the null sender when it was sent on', async () => {
    const message = await signedBy(
      'other.example.net',
      encryptedMessage({ from: bob, sender: 'list@b.example' }),
    );
    expect((await deliver(message)).edits).toEqual([{ kind: 'changeFrom', address: '<>', args: '' }]);
  });

  test('is refused without a signature, or with one that does not count', async () => {
    const message = encryptedMessage({ from: bob });
    expect((await deliver(message)).result).toBe('554 5.7.1 No DKIM signature found');
    const byAnother = await signedBy('example.net', message);
    expect((await deliver(byAnother)).result).toBe('554 5.7.1 No valid DKIM signature found');
    const changed = withHeader(await signedBy('other.example.net', message), 'Date', 'today');
    expect((await deliver(changed)).result).toBe('554 5.7.1 No valid DKIM signature found');
    const noKey = await signedBy('other.example.com', encryptedMessage({ from: 'bob@other.example.com' }));
    expect((await deliver(noKey)).result).toBe('554 5.7.1 No valid DKIM signature found');
  });

  test('has to come again when DNS is down', async () => {
    const message = await signedBy('other.example.net', encryptedMessage({ from: bob }));
    dnsFailure = 'ESERVFAIL';
    expect((await deliver(message)).result).toMatch(/^451 4\.7\.5 /);
  });

  test('in the clear is refused before any key is looked up', async () => {
    dnsFailure = 'ESERVFAIL';
    const message = await signedBy('other.example.net', encryptedMessage({ from: bob, body: 'Hello\r\n' }));
    expect((await deliver(message)).result).toMatch(/^523 5\.7\.1 /);
  });

  test('claiming to be signed in makes it nothing else', async () => {
    expect((await send(encryptedMessage(), 'smtpd', alice)).result).toBe('554 5.7.1 No DKIM signature found');
    expect((await send(encryptedMessage(), 'originating', alice)).result).toBe(
      '554 5.7.1 No DKIM signature found',
    );
  });

  test('has no rate', async () => {
    for (let count = 0; count < 15; count++) expect((await deliver(encryptedMessage())).refused.size).toBe(0);
  });

  test('may come by another way than milter', async () => {
    const message = await signedBy('other.example.net', encryptedMessage({ from: bob }));
    expect(await filter.incoming(message, { signal })).toEqual({ kind: 'accept', edits: [] });
    expect(filter.counts.accepted.incoming).toBe(1);
  });
});

describe('bounces of our own Postfix', () => {
  test('are signed and not filtered', async () => {
    const bounce = withHeader(
      deliveryReport(),
      'From',
      'MAILER-DAEMON@chat.example.org (Mail Delivery System)',
    );
    const outcome = await send(bounce, 'INTERNAL');
    expect(outcome).toMatchObject({
      result: 'accept',
      edits: [{ kind: 'insertHeader', name: 'DKIM-Signature' }],
    });
  });
});

test('no address and no content is logged at info', async () => {
  await submit(encryptedMessage({ body: 'Secret content' }));
  await deliver(encryptedMessage({ from: bob }));
  expect(lines).not.toHaveLength(0);
  expect(lines.join('\n')).not.toMatch(/@|Secret/);
});
