/**
 * Debian's Postfix on both sides of us: it hands outgoing mail to our LMTP server, and takes what our
 * /mxdeliv handler brings in. Between them the way is the real one: HTTPS or SMTP over TLS, with
 * certificates of an authority of the test's own.
 */
import { chmod } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ByteBudget } from '../../../appliance/base/byte-budget.ts';
import { createLog } from '../../../appliance/base/log.ts';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import type { MailDecision } from '../../../appliance/filter/message.ts';
import { type MilterServer, startMilterServer } from '../../../appliance/milter/server.ts';
import { createMxDelivHandler, type MxDelivHandler } from '../../../appliance/mxdeliv/handler.ts';
import { createDelivery } from '../../../appliance/transport/deliver.ts';
import { createHttpsDelivery, type HttpsDelivery } from '../../../appliance/transport/https-delivery.ts';
import { startTransportServer } from '../../../appliance/transport/server.ts';
import { makeAuthority } from '../../fakes/certificates.ts';
import { mailDns } from '../../fakes/mail-dns.ts';
import { type OtherServer, startOtherServer } from '../../fakes/mail-server.ts';
import { hasPostfix, openSmtp, type Postfix, startPostfix } from '../../oracles/postfix.ts';

const domain = 'chat.example.org';
const alice = `alice@${domain}`;
const authority = makeAuthority();
const message =
  `From: <${alice}>\r\nSubject: x\r\n\r\n.A line with a dot\r\n..and two\r\n\r\n.\r\n`.replaceAll(
    '\r\n.\r\n',
    '\r\n. \r\n',
  );

let postfix: Postfix;
let milter: MilterServer;
let other: OtherServer;
let https: HttpsDelivery;
let transport: AsyncDisposable;
let handler: MxDelivHandler;
const accept: MailDecision = { kind: 'accept', edits: [] };
/** What the filter of the sending side says of messages that come in. */
let judge: () => MailDecision = () => accept;
const stop = new AbortController();
const trouble: string[] = [];
const log = createLog('test', (line) => trouble.push(line));

async function startTransport(): Promise<void> {
  const deliver = createDelivery({
    ownDomain: () => parseDomain(domain),
    resolver: mailDns({
      records: {
        'other.example MX': ['10 mx.other.example.'],
        'mx.other.example A': ['127.0.0.1'],
        'down.example A': ['127.0.0.9'],
      },
    }),
    https,
    smtp: { port: other.smtpPort, authorities: authority.certificatePem },
    clock: { monotonicMs: () => performance.now(), wallMs: () => Date.now() },
    random: Math.random,
    log,
    perDomain: { maxActive: 5, maxWaiting: 5 },
    onTlsSession: () => {},
    isForbiddenAddress: () => false,
  });
  transport = await startTransportServer({
    path: postfix.transportPath,
    deliver,
    budget: new ByteBudget(100_000_000),
    maxMessageBytes: 40_000_000,
    maxRecipients: 50,
    log,
  });
  await chmod(postfix.transportPath, 0o666);
}

describe.skipIf(!hasPostfix && process.env['CI'] === undefined)('between two Postfixes', () => {
  beforeAll(async () => {
    postfix = await startPostfix({ domain, relayPort: 'transport' });
    milter = await startMilterServer({
      path: postfix.milterPath,
      handler: {
        recipient: () => null,
        message: async ({ macros }) => (macros.get('daemon_name') === 'ORIGINATING' ? accept : judge()),
      },
      budget: new ByteBudget(100_000_000),
      maxMessageBytes: 40_000_000,
      maxRecipients: 1000,
      signal: stop.signal,
      log,
    });
    await chmod(postfix.milterPath, 0o666);
    other = await startOtherServer(authority.issue(['mx.other.example']));
    https = createHttpsDelivery({ port: other.httpsPort, authorities: authority.certificatePem });
    handler = createMxDelivHandler({
      limits: () => ({ maxMessageBytes: 31_457_280, maxRecipients: 100 }),
      injectionPort: postfix.incomingPort,
      localName: domain,
      log,
    });
    await startTransport();
  });
  afterAll(async () => {
    stop.abort();
    handler?.[Symbol.dispose]();
    await transport?.[Symbol.asyncDispose]();
    https?.[Symbol.dispose]();
    await milter?.close();
    await postfix?.[Symbol.asyncDispose]();
    await other?.[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    other.received.length = 0;
    other.httpsAnswer = undefined;
    other.smtpReply = () => undefined;
    judge = () => accept;
  });

  async function submit(recipients: readonly string[], text = message): Promise<void> {
    using smtp = await openSmtp(postfix.submissionPort, alice);
    // The client ends what it sends by itself.
    const sent = await smtp.send(alice, recipients, text.replace(/\r\n$/, ''));
    expect(sent).toMatchObject({ code: 250 });
  }

  /** The next delivery comes back through /mxdeliv, and what then goes out again is taken. */
  function comeBack(): void {
    other.httpsAnswer = (request, response) => {
      other.httpsAnswer = undefined;
      handler(request, response);
    };
  }

  async function arrived(count: number): Promise<void> {
    for (let round = 0; other.received.length < count; round++) {
      if (round > 400) throw new Error(`Nothing arrived:\n${await postfix.log()}\n${trouble.join('\n')}`);
      await delay(50);
    }
  }

  async function logged(pattern: RegExp): Promise<string> {
    for (let round = 0; round < 400; round++) {
      const found = pattern.exec(await postfix.log());
      if (found !== null) return found[0];
      await delay(50);
    }
    throw new Error(`${pattern} never stood in the log:\n${await postfix.log()}`);
  }

  test('a message goes out over HTTPS byte for byte', async () => {
    await submit(['bob@other.example', 'carol@other.example']);
    await arrived(1);
    expect(other.received).toEqual([
      {
        way: 'HTTPS',
        sender: alice,
        recipients: ['bob@other.example', 'carol@other.example'],
        text: message,
      },
    ]);
    await logged(/to=<carol@other\.example>.*status=sent \(250 2\.0\.0 Ok\)/);
  });

  test('refusals of each recipient reach the log of Postfix, and its bounce goes out as well', async () => {
    other.httpsAnswer = (request, response) => {
      request.resume();
      if (request.headers['x-mail-from'] === undefined) response.end('250 2.0.0 Ok');
      else response.writeHead(400).end('550 5.1.1 No such user');
    };
    await submit(['nobody@other.example', 'nobody@nowhere.example']);
    await logged(/to=<nobody@other\.example>.*dsn=5\.1\.1, status=bounced.*550 5\.1\.1 No such user/);
    await logged(/to=<nobody@nowhere\.example>.*dsn=5\.1\.2, status=bounced.*512 5\.1\.2/);
  });

  test('what is temporary stays in the queue', async () => {
    await submit(['bob@down.example']);
    await logged(
      /to=<bob@down\.example>.*dsn=4\.4\.1, status=deferred \(host .*451 4\.4\.1 down\.example HTTPS: /,
    );
  });

  test('a message of 20 MB passes both ways', async () => {
    const large = `From: <${alice}>\r\n\r\n${`${'x'.repeat(76)}\r\n`.repeat(256_000)}`;
    await submit(['bob@other.example'], large);
    await arrived(1);
    expect(other.received[0]?.text).toBe(large);
    other.received.length = 0;
    comeBack();
    await submit(['carol@other.example'], large);
    await logged(/to=<carol@other\.example>.*status=sent \(250 2\.0\.0 Ok: queued as/);
    await arrived(1);
    expect(other.received[0]?.text.endsWith(large)).toBe(true);
  });

  test('a message that another relay posts is queued, or refused by what the filter says', async () => {
    comeBack();
    await submit(['x1@other.example']);
    await logged(/to=<x1@other\.example>.*status=sent \(250 2\.0\.0 Ok: queued as/);
    await arrived(1);
    comeBack();
    judge = () => ({ kind: 'reject', reply: '523 5.7.1 Encryption Needed: Invalid Unencrypted Mail' });
    await submit(['x2@other.example']);
    await logged(/to=<x2@other\.example>.*dsn=5\.7\.1, status=bounced.*523 5\.7\.1 Encryption Needed/);
  });

  test('a relay process that is away holds nothing up for long, and loses nothing', async () => {
    await transport[Symbol.asyncDispose]();
    await submit(['late@other.example']);
    await logged(/to=<late@other\.example>.*status=deferred/);
    await startTransport();
    await submit(['bob@other.example']);
    await arrived(1);
    expect(other.received[0]?.recipients).toEqual(['bob@other.example']);
  });

  test('none of us had anything to complain of', async () => {
    const complaints = (await postfix.log())
      .split('\n')
      .filter((line) => /warning|error|fatal|panic/.test(line) && /lmtp|smtpd|cleanup/.test(line))
      .filter((line) => !/connect to Milter service .*: No such file/.test(line));
    expect(complaints).toEqual([]);
    expect(trouble).toEqual([]);
  });
});
