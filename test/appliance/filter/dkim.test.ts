import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { dkimVerify } from 'mailauth/lib/dkim/verify.js';
import { beforeAll, describe, expect, test } from 'vitest';
import { ConfigError } from '../../../appliance/base/errors.ts';
import { bodyHash, canonicalField } from '../../../appliance/filter/dkim-canonical.ts';
import { createDkimSigner } from '../../../appliance/filter/dkim-sign.ts';
import { createDkimVerifier, type TxtResolver } from '../../../appliance/filter/dkim-verify.ts';
import {
  applyEdits,
  encodeHeaders,
  type HeaderField,
  type MailMessage,
} from '../../../appliance/filter/message.ts';
import { parseHeaderSection } from '../../../appliance/filter/mime.ts';
import { encryptedMessage, fields } from '../../fixtures/filter/messages.ts';

const clock = { wallMs: () => Date.UTC(2026, 10, 20) };
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const publicKey = createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).toString('base64');
const record = `v=DKIM1;k=rsa;p=${publicKey};s=email;t=s`;
const domain = 'chat.example.org';
const signer = createDkimSigner({ key, selector: 'opendkim', domain, clock });
const zone: Record<string, string> = { [`opendkim._domainkey.${domain}`]: record };

const fromZone =
  (records: Record<string, string>): TxtResolver =>
  (name) => {
    const text = records[name];
    if (text === undefined)
      return Promise.reject(Object.assign(new Error('No such name'), { code: 'ENOTFOUND' }));
    return Promise.resolve([text.match(/.{1,255}/gs) ?? []]);
  };

async function signed(message: MailMessage): Promise<MailMessage> {
  return {
    ...message,
    headers: applyEdits(message.headers, await signer.sign(message.headers, message.body)),
  };
}

function verify(message: Pick<MailMessage, 'headers' | 'body'>, resolveTxt = fromZone(zone), d = domain) {
  return createDkimVerifier({ resolveTxt, clock }).verify(message, d, { signal: AbortSignal.timeout(5000) });
}

describe('createDkimSigner', () => {
  let good: MailMessage;
  beforeAll(async () => {
    good = await signed(encryptedMessage());
  });

  test('signs what the verifier accepts', async () => {
    expect(await verify(good)).toBe('pass');
  });

  describe('with a second key', () => {
    const pair = generateKeyPairSync('ed25519');
    const pem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const raw = Buffer.from(pair.publicKey.export({ format: 'jwk' }).x ?? '', 'base64url').toString('base64');
    const name = `second._domainkey.${domain}`;
    const ed25519 = { key: pem, selector: 'second' };
    const both = createDkimSigner({ key, selector: 'opendkim', ed25519, domain, clock });

    test('signs twice, and either signature is enough', async () => {
      const message = encryptedMessage();
      const headers = applyEdits(message.headers, await both.sign(message.headers, message.body));
      expect(headers.filter((field) => field.name === 'DKIM-Signature')).toHaveLength(2);
      const signed = { headers, body: message.body };
      const second = { [name]: `v=DKIM1;k=ed25519;p=${raw};s=email;t=s` };
      expect(await verify(signed, fromZone({ ...zone, ...second }))).toBe('pass');
      expect(await verify(signed, fromZone(zone))).toBe('pass');
      expect(await verify(signed, fromZone(second))).toBe('pass');
      const changed = { headers, body: Buffer.concat([message.body, Buffer.from('x')]) };
      expect(await verify(changed, fromZone({ ...zone, ...second }))).toBe('fail');
    });

    test('refuses a second key of another kind', () => {
      const wrong = { key, selector: 'second' };
      expect(() => createDkimSigner({ key, selector: 's', ed25519: wrong, domain, clock })).toThrow(
        expect.objectContaining({ path: 'secrets.dkimEd25519Key' }),
      );
    });
  });

  test('names every field, and once more those that nobody may add', () => {
    const value = good.headers[0]?.value.replace(/\s/g, '') ?? '';
    const names = /;h=([^;]*);/.exec(value)?.[1]?.split(':') ?? [];
    const count = (name: string) => names.filter((one) => one === name).length;
    for (const name of ['from', 'subject', 'to', 'date', 'autocrypt', 'content-type'])
      expect(count(name)).toBe(2);
    for (const name of ['cc', 'reply-to', 'references', 'resent-from', 'chat-version', 'message-id']) {
      expect(count(name)).toBe(1);
    }
    expect(value).toMatch(
      /^v=1;a=rsa-sha256;c=relaxed\/simple;d=chat\.example\.org;s=opendkim;t=1795132800;/,
    );
  });

  test('its lines are no longer than 78 characters', () => {
    for (const line of `DKIM-Signature:${good.headers[0]?.value}`.split('\r\n')) {
      expect(line.length).toBeLessThanOrEqual(78);
    }
  });

  test.each(['From', 'Subject', 'Cc', 'Reply-To', 'Autocrypt', 'Content-Type', 'MIME-Version'])(
    'a %s added on the way breaks the signature',
    async (name) => {
      const field = { name, value: ' eve@example.net' };
      expect(await verify({ ...good, headers: [field, ...good.headers] })).toBe('fail');
      expect(await verify({ ...good, headers: [...good.headers, field] })).toBe('fail');
    },
  );

  test('fields that come and go on the way do not break it', async () => {
    const added = fields(
      'Received: from a by b',
      'Authentication-Results: b; dkim=pass',
      'Return-Path: <a@b>',
    );
    expect(await verify({ ...good, headers: [...added, ...good.headers] })).toBe('pass');
  });

  test('signs a message without Date, Message-ID and Subject', async () => {
    const headers = fields('From: alice@chat.example.org');
    expect(await verify(await signed({ ...encryptedMessage(), headers }))).toBe('pass');
  });

  test('signs repeated fields, bodies of any end, and bytes above 127', async () => {
    const headers = fields(
      'From:alice@chat.example.org ',
      'X-A: 1\r\n\t2 ',
      'X-A:   3',
      'x-a:',
      'X-B: \xc3\xa4\xe9',
    );
    for (const body of ['', '\r\n', '\r\n\r\n\r\n', 'a', 'a\r\n', 'a\r\n\r\n\r\n', '\xe4 \t\r\n b \r\n']) {
      const message = { ...encryptedMessage(), headers, body: Buffer.from(body, 'latin1') };
      expect([body, await verify(await signed(message))]).toEqual([body, 'pass']);
    }
  });

  test.each([
    ['no key', 'nonsense'],
    [
      'an Ed25519 key',
      generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    ],
    [
      '512 bits',
      generateKeyPairSync('rsa', { modulusLength: 512 })
        .privateKey.export({ type: 'pkcs8', format: 'pem' })
        .toString(),
    ],
  ])('refuses %s', (_, pem) => {
    expect(() => createDkimSigner({ key: pem, selector: 's', domain, clock })).toThrow(ConfigError);
  });
});

describe('canonicalization (RFC 6376 §3.4.5)', () => {
  const hashOf = (text: string) => createHash('sha256').update(text).digest('base64');

  test('header fields', () => {
    const fold = { name: 'B ', value: ' Y\t\r\n\tZ  ' };
    expect(canonicalField({ name: 'A', value: ' X' }, 'relaxed')).toBe('a:X\r\n');
    expect(canonicalField(fold, 'relaxed')).toBe('b:Y Z\r\n');
    expect(canonicalField(fold, 'simple')).toBe('B : Y\t\r\n\tZ  \r\n');
  });

  test.each([
    [' C \r\nD \t E\r\n\r\n\r\n', ' C \r\nD \t E\r\n', ' C\r\nD E\r\n'],
    ['', '\r\n', ''],
    ['\r\n\r\n', '\r\n', ''],
    [' \t\r\n \r\n', ' \t\r\n \r\n', ''],
    ['a', 'a\r\n', 'a\r\n'],
    ['a \r\n\r\n  b', 'a \r\n\r\n  b\r\n', 'a\r\n\r\n b\r\n'],
  ])('body %j', (body, simple, relaxed) => {
    expect(bodyHash(Buffer.from(body), 'simple')).toBe(hashOf(simple));
    expect(bodyHash(Buffer.from(body), 'relaxed')).toBe(hashOf(relaxed));
  });
});

describe('bodyHash', () => {
  test('a large relaxed body, in bulk and byte by byte, is what the definition says', () => {
    const hashOf = (text: string) => createHash('sha256').update(text).digest('base64');
    // RFC 6376 §3.4.4, word for word and without thought for size.
    const relaxed = (body: string) => {
      const text = body
        .replace(/[ \t]+/g, ' ')
        .replace(/ (?=\r\n|$)/g, '')
        .replace(/(\r\n)*$/, '');
      return text === '' ? '' : `${text}\r\n`;
    };
    const piece = fc.constantFrom(
      '\r\n',
      '\r\n'.repeat(3000),
      'a',
      ' ',
      '\t ',
      `${'b'.repeat(64)}\r\n`.repeat(200),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const body = pieces.join('');
        return bodyHash(Buffer.from(body), 'relaxed') === hashOf(relaxed(body));
      }),
      { numRuns: 60 },
    );
  });
});

describe('bodyHash of hostile bodies', () => {
  const size = 8_000_000;
  test.each([
    ['one long line after many short ones', `${'\r\n'.repeat(2000)}${'a'.repeat(size)} `],
    ['nothing but white space', ' \t'.repeat(size / 2)],
    ['nothing but line ends', '\r\n'.repeat(size / 2)],
    ['a space in every line', 'a b\r\n'.repeat(size / 5)],
    ['a space after every 4 KB', `${'a\r\n'.repeat(1400)} `.repeat(size / 4201)],
  ])('%s takes time in proportion to its size', (_, body) => {
    const start = performance.now();
    bodyHash(Buffer.from(body), 'relaxed');
    bodyHash(Buffer.from(body), 'simple');
    expect(performance.now() - start).toBeLessThan(3000);
  });
});

describe('createDkimVerifier', () => {
  let good: MailMessage;
  beforeAll(async () => {
    good = await signed(encryptedMessage());
  });
  const changed = (edit: (value: string) => string): MailMessage => ({
    ...good,
    headers: good.headers.map((field) =>
      field.name === 'DKIM-Signature' ? { ...field, value: edit(field.value) } : field,
    ),
  });

  test('tells a message without a signature from one with a bad one', async () => {
    expect(await verify(encryptedMessage())).toBe('unsigned');
    expect(await verify({ ...good, body: Buffer.concat([good.body, Buffer.from('x')]) })).toBe('fail');
    const headers = good.headers.map((field) => (field.name === 'To' ? { ...field, value: ' eve' } : field));
    expect(await verify({ ...good, headers })).toBe('fail');
  });

  test('d= must be the domain itself, in any case', async () => {
    expect(await verify(good, fromZone(zone), 'CHAT.example.ORG')).toBe('pass');
    for (const other of ['example.org', 'sub.chat.example.org', 'chat.example.net']) {
      expect(await verify(good, fromZone(zone), other)).toBe('fail');
    }
  });

  test('signatures of other domains are not even looked up', async () => {
    const asked: string[] = [];
    const resolveTxt: TxtResolver = (name) => {
      asked.push(name);
      return fromZone(zone)(name);
    };
    const other = (value: string) => ({ name: 'DKIM-Signature', value });
    const foreign = Array.from({ length: 50 }, (_, at) =>
      other(` v=1; a=rsa-sha256; d=evil${at}.example; s=s; h=from; bh=AAAA; b=AAAA`),
    );
    expect(await verify({ ...good, headers: [...foreign, ...good.headers] }, resolveTxt)).toBe('pass');
    expect(asked).toEqual([`opendkim._domainkey.${domain}`]);
  });

  test('looks up at most four selectors, however many signatures there are', async () => {
    const asked = new Set<string>();
    const resolveTxt: TxtResolver = (name) => {
      asked.add(name);
      return fromZone({})(name);
    };
    const headers: HeaderField[] = [];
    for (let at = 0; at < 100; at++) {
      headers.push(...changed((value) => value.replace('s=opendkim', `s=s${at}`)).headers.slice(0, 1));
    }
    expect(await verify({ ...good, headers: [...headers, ...good.headers.slice(1)] }, resolveTxt)).toBe(
      'fail',
    );
    expect(asked.size).toBeLessThanOrEqual(4);
  });

  test('one valid signature among bad ones is enough', async () => {
    const bad = changed((value) => value.replace(/bh=./, 'bh=A')).headers.slice(0, 1);
    expect(await verify({ ...good, headers: [...bad, ...good.headers] })).toBe('pass');
  });

  test.each([
    ['no record', fromZone({})],
    ['an empty answer', () => Promise.resolve([])],
    ['a revoked key', fromZone({ [`opendkim._domainkey.${domain}`]: 'v=DKIM1; p=' })],
    [
      'another key',
      fromZone({
        [`opendkim._domainkey.${domain}`]: `v=DKIM1; p=${createPublicKey(
          generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
        )
          .export({ type: 'spki', format: 'der' })
          .toString('base64')}`,
      }),
    ],
    ['nonsense', fromZone({ [`opendkim._domainkey.${domain}`]: 'v=DKIM1; k=rsa; p=!!!' })],
  ])('fails for good with %s', async (_, resolveTxt) => {
    expect(await verify(good, resolveTxt)).toBe('fail');
  });

  test.each(['ESERVFAIL', 'ETIMEOUT', 'EREFUSED', 'ECONNREFUSED', 'ECANCELLED'])(
    '%s is a matter of time',
    async (code) => {
      const resolveTxt = () => Promise.reject(Object.assign(new Error(code), { code }));
      expect(await verify(good, resolveTxt)).toBe('temperror');
    },
  );

  test('a lookup that never ends ends with the deadline, or with the connection', async () => {
    const never: TxtResolver = () => new Promise(() => {});
    const verifier = createDkimVerifier({ resolveTxt: never, clock, lookupTimeoutMs: 10 });
    expect(await verifier.verify(good, domain, { signal: new AbortController().signal })).toBe('temperror');
    const patient = createDkimVerifier({ resolveTxt: never, clock });
    expect(await patient.verify(good, domain, { signal: AbortSignal.abort() })).toBe('temperror');
  });

  test('picks the key among other text records', async () => {
    const resolveTxt: TxtResolver = () =>
      Promise.resolve([['v=spf1 -all'], record.match(/.{1,255}/gs) ?? []]);
    expect(await verify(good, resolveTxt)).toBe('pass');
  });

  test('takes no signature that leaves a part of the body unsigned', async () => {
    expect(await verify(changed((value) => value.replace('bh=', `l=${good.body.length}; bh=`)))).toBe('fail');
  });

  test('takes the Ed25519 example of RFC 8463', async () => {
    // RFC 8463 appendix A: the message and the keys as printed there.
    const headers = parseHeaderSection(
      [
        'DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;',
        ' d=football.example.com; i=@football.example.com;',
        ' q=dns/txt; s=brisbane; t=1528637909; h=from : to :',
        ' subject : date : message-id : from : subject : date;',
        ' bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;',
        ' b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus',
        ' Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==',
        'From: Joe SixPack <joe@football.example.com>',
        'To: Suzie Q <suzie@shopping.example.net>',
        'Subject: Is dinner ready?',
        'Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)',
        'Message-ID: <20030712040037.46341.5F8J@football.example.com>',
      ].join('\r\n'),
    );
    if (headers === null) throw new Error('Not a header section');
    const body = Buffer.from('Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n');
    const records = {
      'brisbane._domainkey.football.example.com':
        'v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=',
    };
    expect(await verify({ headers, body }, fromZone(records), 'football.example.com')).toBe('pass');
    expect(await verify({ headers, body: body.subarray(1) }, fromZone(records), 'football.example.com')).toBe(
      'fail',
    );
  });

  test('never throws, whatever stands in the signature', async () => {
    const tags = fc.string({
      unit: fc.constantFrom(
        'd=',
        domain,
        ';',
        'b=',
        'bh=',
        'h=',
        'from',
        ':',
        'a=rsa-sha256',
        's=x',
        'c=',
        'l=1',
        '\r\n ',
      ),
      maxLength: 40,
    });
    await fc.assert(
      fc.asyncProperty(tags, async (value) => {
        const headers = [
          { name: 'DKIM-Signature', value: ` v=1; d=${domain}; ${value}` },
          ...good.headers.slice(1),
        ];
        return (await verify({ ...good, headers })) === 'fail';
      }),
      { numRuns: 50 },
    );
  });

  test('agrees with mailauth on messages changed in one place', async () => {
    const whole = Buffer.concat([encodeHeaders(good.headers), good.body]).toString('latin1');
    const headerEnd = whole.indexOf('\r\n\r\n') + 2;
    // Changes that leave lines lines: what is no header section never gets as far as DKIM.
    const change = fc.record({
      at: fc.nat(whole.length - 1),
      text: fc.constantFrom('', ' ', '  ', '\t', ';', '=', ':', 'a', 'A', '0', 'b=', 'l=0;', 'X'),
      replaced: fc.nat(2),
    });
    let passed = 0;
    await fc.assert(
      fc.asyncProperty(change, async ({ at, text, replaced }) => {
        const changedText = whole.slice(0, at) + text + whole.slice(at + replaced);
        const end = changedText.indexOf('\r\n\r\n');
        const headers = parseHeaderSection(changedText.slice(0, Math.max(0, end)));
        const hasBareEnds = /\r(?!\n)|(?<!\r)\n/.test(changedText);
        fc.pre(headers !== null && !hasBareEnds && Math.abs(end + 2 - headerEnd) < 3);
        const body = Buffer.from(changedText.slice(end + 4), 'latin1');
        const { results } = await dkimVerify(Buffer.from(changedText, 'latin1'), {
          strict: true,
          resolver: (name: string) => fromZone(zone)(name).then((records) => records.map((one) => [...one])),
          curTime: new Date(clock.wallMs()),
        });
        const judged = results.some(
          ({ status, signingDomain, canonBodyLengthLimited }) =>
            status.result === 'pass' &&
            signingDomain?.toLowerCase() === domain &&
            canonBodyLengthLimited !== true,
        );
        const ours = (await verify({ headers: headers ?? [], body })) === 'pass';
        if (ours) passed++;
        // mailauth reads over what is no base64 in b=; there we may be stricter.
        const inSignature = at >= whole.indexOf('\tb=') && at <= whole.indexOf('\r\nFrom:');
        const agreed = ours === judged || (inSignature && !ours);
        if (!agreed) throw new Error(`We say ${ours}, mailauth ${JSON.stringify(results[0]?.status)}`);
      }),
      { numRuns: 300 },
    );
    expect(passed).toBeGreaterThan(5);
  });

  test('a header section of many short lines is no burden', async () => {
    const folded = { name: 'X-Bomb', value: `${'\r\n '.repeat(3500)}x` };
    const start = performance.now();
    expect(await verify({ ...good, headers: [...good.headers, folded] })).toBe('pass');
    expect(performance.now() - start).toBeLessThan(2000);
  });
});
