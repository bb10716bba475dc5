import { createHash } from 'node:crypto';
import { afterEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import { formatReply } from '../../../appliance/smtp/reply.ts';
import {
  createDelivery,
  type DeliveryOptions,
  type TlsSession,
} from '../../../appliance/transport/deliver.ts';
import { createHttpsDelivery } from '../../../appliance/transport/https-delivery.ts';
import { makeAuthority } from '../../fakes/certificates.ts';
import { mailDns, type MailZone } from '../../fakes/mail-dns.ts';
import { type OtherServer, startOtherServer } from '../../fakes/mail-server.ts';

const authority = makeAuthority();
const stranger = makeAuthority('Somebody else');
const good = authority.issue(['mx.other.example']);
const text = 'From: <alice@chat.example.org>\r\n\r\n.Hello\r\n';
const alice = 'alice@chat.example.org';
const bob = 'bob@other.example';

const opened: (Disposable | AsyncDisposable)[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).toReversed()) {
    if (Symbol.dispose in one) one[Symbol.dispose]();
    else await one[Symbol.asyncDispose]();
  }
});

const zone: MailZone = {
  records: { 'other.example MX': ['10 mx.other.example.'], 'mx.other.example A': ['127.0.0.1'] },
};

interface Side {
  readonly other: OtherServer;
  readonly sessions: Omit<TlsSession, 'sendingIp' | 'receivingIp'>[];
  nowMs: number;
  readonly send: (recipients?: readonly string[], sender?: string, body?: string) => Promise<string[]>;
}

async function side(
  options: {
    credentials?: typeof good;
    dns?: MailZone;
    overrides?: Partial<DeliveryOptions>;
    connectTimeoutMs?: number;
    timeoutMs?: number;
  } = {},
): Promise<Side> {
  const other = await startOtherServer(options.credentials ?? good);
  opened.push(other);
  const timeouts = {
    connectTimeoutMs: options.connectTimeoutMs ?? 5000,
    timeoutMs: options.timeoutMs ?? 5000,
    authorities: authority.certificatePem,
  };
  const https = createHttpsDelivery({ port: other.httpsPort, ...timeouts });
  opened.push(https);
  const sessions: Omit<TlsSession, 'sendingIp' | 'receivingIp'>[] = [];
  const result: Side = {
    other,
    sessions,
    nowMs: 0,
    send: async (recipients = [bob], sender = alice, body = text) => {
      const bytes = Buffer.from(body);
      const replies = await deliver(
        { sender, recipients, body: [bytes.subarray(0, 7), bytes.subarray(7)], sizeBytes: bytes.length },
        AbortSignal.timeout(15_000),
      );
      return replies.map(formatReply);
    },
  };
  const deliver = createDelivery({
    ownDomain: () => parseDomain('chat.example.org'),
    resolver: mailDns(options.dns ?? zone),
    https,
    smtp: { port: other.smtpPort, authorities: authority.certificatePem, timeoutMs: timeouts.timeoutMs },
    clock: { monotonicMs: () => result.nowMs, wallMs: () => Date.now() },
    random: () => 0,
    log: silentLog,
    perDomain: { maxActive: 2, maxWaiting: 1 },
    onTlsSession: ({ domain, host, tlsa, result: end }) => sessions.push({ domain, host, tlsa, result: end }),
    isForbiddenAddress: () => false,
    ...options.overrides,
  });
  return result;
}

/** A web server that knows nothing of mail. */
const notFound: OtherServer['httpsAnswer'] = (request, response) => {
  request.resume();
  response.writeHead(404).end('<html>Not found</html>');
};

describe('HTTPS', () => {
  test('comes first, with envelope and message as they are', async () => {
    const { other, send } = await side();
    expect(await send([bob, 'carol@other.example'])).toEqual(['250 2.0.0 Ok', '250 2.0.0 Ok']);
    expect(other.received).toEqual([
      { way: 'HTTPS', sender: alice, recipients: [bob, 'carol@other.example'], text },
    ]);
    expect(other.smtpConnections).toBe(0);
  });

  test('says nothing of a null sender', async () => {
    const { other, send } = await side();
    await send([bob], '');
    expect(other.received[0]?.sender).toBe('');
  });

  test('keeps its connection for the next message', async () => {
    const { other, send } = await side();
    for (let round = 0; round < 3; round++) expect(await send()).toEqual(['250 2.0.0 Ok']);
    expect(other.httpsConnections).toBe(1);
  });

  test('takes a kept connection that was closed in the meantime for what it is', async () => {
    const { other, send } = await side();
    other.httpsAnswer = (request, response) => {
      request.resume();
      request.on('end', () => {
        response.end('250 2.0.0 Ok');
        response.once('finish', () => setImmediate(() => request.socket.destroy()));
      });
    };
    for (let round = 0; round < 4; round++) expect(await send()).toEqual(['250 2.0.0 Ok']);
    expect(other.smtpConnections).toBe(0);
  });

  test.each([
    [400, '523 5.7.1 Encryption Needed\r\n', '523 5.7.1 Encryption Needed'],
    [400, '451 4.7.5 Later', '451 4.7.5 Later'],
    [400, '421 Transport busy', '451 Transport busy'],
    [413, '552 Message exceeds maximum size', '552 Message exceeds maximum size'],
    [200, '', '250 2.0.0 Delivered over HTTPS'],
  ])('status %i with %j is an answer', async (status, answer, expected) => {
    const { other, send } = await side();
    other.httpsAnswer = (request, response) => {
      request.resume();
      request.on('end', () => response.writeHead(status).end(answer));
    };
    expect(await send()).toEqual([expected]);
    expect(other.smtpConnections).toBe(0);
  });

  test.each([
    [404, 'Not found'],
    [405, '502 Method not allowed'],
    [400, '<html>400 Bad Request</html>'],
    [413, '<html>413 Request Entity Too Large</html>'],
    [503, '421 4.3.2 Transport busy'],
    [302, ''],
  ])('status %i with %j says nothing of the message: SMTP is next', async (status, answer) => {
    const { other, send } = await side();
    other.httpsAnswer = (request, response) => {
      request.resume();
      request.on('end', () => response.writeHead(status).end(answer));
    };
    expect(await send()).toEqual(['250 2.0.0 Ok']);
    expect(other.received.map(({ way }) => way)).toEqual(['SMTP']);
  });

  test('an early answer ends the sending of a large message', async () => {
    const { other, send } = await side();
    other.httpsAnswer = (_, response) => {
      response.setHeader('connection', 'close');
      response.writeHead(413).end('552 Message exceeds maximum size');
    };
    expect(await send([bob], alice, 'x'.repeat(20_000_000))).toEqual(['552 Message exceeds maximum size']);
  });

  test('no answer after the whole message means later, and nothing else is tried at once', async () => {
    const { other, send } = await side({ timeoutMs: 100 });
    other.httpsAnswer = (request) => void request.resume();
    const [reply] = await send();
    expect(reply).toMatch(/^451 4\.4\.1 mx\.other\.example HTTPS: No answer after \d+ ms$/);
    expect(other.smtpConnections).toBe(0);
  });

  test('an answer that is the start of another protocol is none', async () => {
    const { other, send } = await side();
    other.httpsAnswer = (request) =>
      request.socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n');
    expect(await send()).toEqual([
      '451 4.4.1 mx.other.example HTTPS: The connection was closed without an answer',
    ]);
  });

  test('a connection lost after the whole message means later, too', async () => {
    const { other, send } = await side();
    other.httpsAnswer = (request) => {
      request.resume();
      request.on('end', () => request.socket.destroy());
    };
    expect((await send())[0]).toMatch(/^451 4\.4\.1 mx\.other\.example HTTPS: /);
    expect(other.smtpConnections).toBe(0);
  });
});

describe('certificates', () => {
  test.each([
    ['of an unknown authority', stranger.issue(['mx.other.example']), 'certificate-not-trusted'],
    ['of another name', authority.issue(['other.example']), 'certificate-host-mismatch'],
    ['that has run out', authority.issue(['mx.other.example'], { expired: true }), 'certificate-expired'],
  ])('%s are refused on both ways', async (_, credentials, failure) => {
    const { other, send, sessions } = await side({ credentials });
    const [reply] = await send();
    expect(reply).toMatch(/^451 4\.4\.1 mx\.other\.example HTTPS: .*; mx\.other\.example SMTP: /);
    expect(other.received).toEqual([]);
    expect(sessions).toEqual([
      { domain: 'other.example', host: 'mx.other.example', tlsa: [], result: failure },
    ]);
  });

  test('a server without STARTTLS gets nothing', async () => {
    const { other, send, sessions } = await side();
    other.httpsAnswer = notFound;
    other.offersStartTls = false;
    expect((await send())[0]).toMatch(/^451 4\.4\.1 .*offers no STARTTLS$/);
    expect(sessions.map(({ result }) => result)).toEqual(['starttls-not-supported']);
  });

  test.each([
    ['an address literal', 'bob@[127.0.0.1]', { records: {} }],
    [
      'a name with a leading underscore',
      'bob@_other.example',
      { records: { '_other.example A': ['127.0.0.1'] } },
    ],
  ])('any will do for %s, since nobody can have one', async (_, recipient, dns) => {
    const { other, send } = await side({ credentials: stranger.issue(['nobody']), dns });
    expect(await send([recipient])).toEqual(['250 2.0.0 Ok']);
    other.httpsAnswer = notFound;
    expect(await send([recipient])).toEqual(['250 2.0.0 Ok']);
    expect(other.received.map(({ way }) => way)).toEqual(['HTTPS', 'SMTP']);
  });
});

describe('SMTP', () => {
  test('serves a server that is no relay, which is not asked for HTTPS again for half an hour', async () => {
    const side1 = await side();
    side1.other.httpsAnswer = notFound;
    expect(await side1.send()).toEqual(['250 2.0.0 Ok']);
    expect(await side1.send()).toEqual(['250 2.0.0 Ok']);
    expect(side1.other.received.map(({ way, text: body }) => [way, body])).toEqual([
      ['SMTP', text],
      ['SMTP', text],
    ]);
    expect(side1.other.httpsConnections).toBe(1);
    side1.other.httpsAnswer = undefined;
    side1.nowMs = 30 * 60_000 + 1;
    await side1.send();
    expect(side1.other.received.at(-1)?.way).toBe('HTTPS');
  });

  test('gives each recipient its own answer', async () => {
    const { other, send } = await side();
    other.httpsAnswer = notFound;
    other.smtpReply = (verb, line) =>
      verb === 'RCPT' && line.includes('nobody') ? '550 5.1.1 No such user\r\n' : undefined;
    expect(await send([bob, 'nobody@other.example', 'carol@other.example'])).toEqual([
      '250 2.0.0 Ok',
      '550 5.1.1 No such user',
      '250 2.0.0 Ok',
    ]);
  });

  test.each([
    ['MAIL', '550 5.7.1 Not you\r\n', '550 5.7.1 Not you'],
    ['RCPT', '450 4.2.0 Greylisted\r\n', '450 4.2.0 Greylisted'],
    ['DATA', '451 4.3.0 Not now\r\n', '451 4.3.0 Not now'],
    ['.', '554-5.7.1 Spam\r\n554 5.7.1 Really\r\n', '554 5.7.1 Spam Really'],
  ])('hands on what is said to %s', async (verb, answer, expected) => {
    const { other, send } = await side();
    other.httpsAnswer = notFound;
    other.smtpReply = (asked) => (asked === verb ? answer : undefined);
    expect(await send()).toEqual([expected]);
  });

  test('a connection lost after the message means later', async () => {
    const { other, send } = await side();
    other.httpsAnswer = notFound;
    other.smtpReply = (verb) => (verb === '.' ? '' : undefined);
    expect((await send())[0]).toMatch(/^451 4\.4\.1 mx\.other\.example SMTP: /);
  });

  test('a greeting that refuses lets the next server try', async () => {
    const { other, send } = await side();
    other.httpsAnswer = notFound;
    other.smtpReply = (verb) => (verb === 'CONNECT' ? '554 5.3.2 No service\r\n' : undefined);
    expect((await send())[0]).toMatch(/^451 4\.4\.1 .*554 5\.3\.2 No service$/);
  });
});

describe('DANE', () => {
  const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  const spki = (certificate: typeof good.certificate) =>
    certificate.publicKey.export({ type: 'spki', format: 'der' });
  const tlsa = '_25._tcp.mx.other.example TLSA';
  const signed = ['other.example MX', 'mx.other.example A', 'mx.other.example AAAA'];
  const own = stranger.issue(['mx.other.example'], { withRoot: true });
  const withTlsa = (records: readonly string[], secure = [...signed, tlsa]): MailZone => ({
    records: { ...zone.records, [tlsa]: records },
    secure,
  });

  test.each([
    ['its own key', [`3 1 1 ${sha256(spki(own.certificate))}`]],
    ['its own certificate', [`3 0 1 ${sha256(own.certificate.raw)}`]],
    ['the authority it sends along', [`2 0 1 ${sha256(stranger.certificate.raw)}`]],
    ['one of several', [`3 1 1 ${'00'.repeat(32)}`, `3 1 1 ${sha256(spki(own.certificate))}`]],
  ])('a server that is vouched for by its zone needs no authority: %s', async (_, records) => {
    const { other, send, sessions } = await side({ credentials: own, dns: withTlsa(records) });
    expect(await send()).toEqual(['250 2.0.0 Ok']);
    // Port 443 is no matter of DANE.
    expect(other.received.map(({ way }) => way)).toEqual(['SMTP']);
    expect(sessions).toEqual([
      { domain: 'other.example', host: 'mx.other.example', tlsa: records, result: 'success' },
    ]);
  });

  test('records that name another certificate are believed over any authority', async () => {
    const { other, send, sessions } = await side({ dns: withTlsa([`3 1 1 ${'00'.repeat(32)}`]) });
    other.httpsAnswer = notFound;
    expect((await send())[0]).toMatch(/^451 4\.4\.1 .*TLSA records$/);
    expect(sessions.map(({ result }) => result)).toEqual(['validation-failure']);
  });

  test.each([
    ['the records are not signed', withTlsa([`3 1 1 ${'00'.repeat(32)}`], signed)],
    ['the address is not signed', withTlsa([`3 1 1 ${'00'.repeat(32)}`], ['other.example MX', tlsa])],
    ['the MX is not signed', withTlsa([`3 1 1 ${'00'.repeat(32)}`], [...signed.slice(1), tlsa])],
    ['they mean nothing here', withTlsa([`1 1 1 ${'00'.repeat(32)}`, '3 9 9 00'])],
  ])('an authority is asked where %s', async (_, dns) => {
    const { other, send } = await side({ dns });
    other.httpsAnswer = notFound;
    expect(await send()).toEqual(['250 2.0.0 Ok']);
  });

  test('a lookup that fails is no permission to do without', async () => {
    const { other, send, sessions } = await side({ dns: { ...withTlsa([]), broken: [tlsa] } });
    other.httpsAnswer = notFound;
    expect((await send())[0]).toMatch(/^451 4\.4\.1 .*TLSA records could not be looked up$/);
    expect(sessions.map(({ result }) => result)).toEqual(['dnssec-invalid']);
    expect(other.smtpConnections).toBe(0);
  });
});

describe('routes', () => {
  test('every server of the list is tried, the preferred one first', async () => {
    const { other, send } = await side({
      dns: {
        records: {
          'other.example MX': ['20 mx.other.example.', '10 down.other.example.', '5 nowhere.other.example.'],
          'mx.other.example A': ['127.0.0.1'],
          // Nothing listens on this one.
          'down.other.example A': ['127.0.0.2'],
        },
      },
    });
    expect(await send()).toEqual(['250 2.0.0 Ok']);
    expect(other.received[0]?.way).toBe('HTTPS');
  });

  test.each([
    ['a domain that does not exist', { records: {} }, '512 5.1.2 The domain other.example does not exist'],
    [
      'a domain that takes no mail',
      { records: { 'other.example MX': ['0 .'] } },
      '556 5.1.10 The domain other.example takes no mail',
    ],
    [
      'a domain whose name servers fail',
      { records: {}, broken: ['other.example MX'] },
      '451 4.4.3 The lookup of other.example MX ended in SERVFAIL',
    ],
    [
      'a domain that leads to ourselves',
      { records: { 'other.example MX': ['10 chat.example.org.', '20 mx.other.example.'] } },
      '554 5.4.6 Mail for other.example loops back to this relay',
    ],
  ])('%s', async (_, dns, expected) => {
    const { send } = await side({ dns });
    expect(await send()).toEqual([expected]);
  });

  test('addresses that are our own are not called', async () => {
    const { other, send } = await side({
      overrides: { isForbiddenAddress: (address) => address === '127.0.0.1' },
    });
    expect((await send())[0]).toMatch(/^451 4\.4\.1 .*leads back to this relay$/);
    expect(other.httpsConnections).toBe(0);
  });

  test('the domains of one message are delivered to side by side', async () => {
    const { send } = await side();
    expect(await send(['x@nowhere.example', bob, 'x@[127.0.0.1]', 'no-domain@', 'x@192.0.2.1'])).toEqual([
      '512 5.1.2 The domain nowhere.example does not exist',
      '250 2.0.0 Ok',
      '250 2.0.0 Ok',
      expect.stringMatching(/^512 5\.1\.2 /),
      expect.stringMatching(/^512 5\.1\.2 /),
    ]);
  });

  test('a domain that hangs has so many at work, so many waiting, and no more', async () => {
    const { other, send } = await side({ timeoutMs: 300 });
    const requests: (() => void)[] = [];
    other.httpsAnswer = (request, response) => {
      request.resume();
      requests.push(() => response.end('250 2.0.0 Ok'));
    };
    const replies = await Promise.all(Array.from({ length: 5 }, () => send()));
    expect(replies.flat().filter((reply) => reply === '451 4.3.2 Transport busy')).toHaveLength(2);
    expect(requests.length).toBe(3);
  });
});
