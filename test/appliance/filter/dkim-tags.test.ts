import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseKeyRecord, parseSignature, withoutSignatureData } from '../../../appliance/filter/dkim-tags.ts';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
const spki = rsa.export({ type: 'spki', format: 'der' }).toString('base64');
const ed25519 = '11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=';

/** A signature with one tag replaced, added or (null) removed. */
function signature(changes: Record<string, string | null> = {}): string {
  const tags = {
    v: '1',
    a: 'rsa-sha256',
    d: 'Example.org',
    s: 's1',
    h: 'From : to',
    bh: 'AAAA',
    b: 'BB BB',
    ...changes,
  };
  return Object.entries(tags)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => ` ${name}=${value}`)
    .join(';');
}

describe('parseSignature', () => {
  test('reads every tag', () => {
    expect(
      parseSignature(`${signature({ c: 'relaxed', x: '2', t: '1', i: 'a@sub.example.org', n: 'note' })};`),
    ).toEqual({
      algorithm: 'rsa',
      header: 'relaxed',
      body: 'simple',
      domain: 'example.org',
      selector: 's1',
      fields: ['from', 'to'],
      bodyHash: 'AAAA',
      signature: Buffer.from('BBBB', 'base64'),
      expiresSec: 2,
      exactIdentity: false,
    });
    expect(parseSignature(signature({ a: 'ed25519-sha256', c: 'relaxed/relaxed' }))).toMatchObject({
      algorithm: 'ed25519',
      body: 'relaxed',
      expiresSec: null,
      exactIdentity: true,
    });
    expect(parseSignature(signature({ bh: 'AA\r\n\tAA', h: '\r\n\tfrom' }))).toMatchObject({
      bodyHash: 'AAAA',
    });
  });

  test.each([
    ['without v', { v: null }],
    ['of another version', { v: '2' }],
    ['without a', { a: null }],
    ['with SHA-1', { a: 'rsa-sha1' }],
    ['without d', { d: null }],
    ['with a domain that is no name', { d: 'exa mple.org' }],
    ['with an empty label', { d: 'example..org' }],
    ['without s', { s: null }],
    ['with a selector that is no name', { s: '../x' }],
    ['without h', { h: null }],
    ['that leaves From out', { h: 'to:subject' }],
    ['with an empty field name', { h: 'from::to' }],
    ['without bh', { bh: null }],
    ['with bh that is no base64', { bh: '!' }],
    ['without b', { b: null }],
    ['with b that is no base64', { b: 'a=b=c' }],
    ['over a part of the body', { l: '100' }],
    ['of an unknown canonicalization', { c: 'nofws' }],
    ['of three canonicalizations', { c: 'simple/simple/simple' }],
    ['of an identity elsewhere', { i: 'a@example.net' }],
    ['of an identity that only ends alike', { i: 'a@notexample.org' }],
    ['of another query method', { q: 'http' }],
    ['with a time that is no number', { t: 'soon' }],
    ['that expired before it was made', { t: '2', x: '1' }],
  ])('ignores one %s', (_, changes) => {
    expect(parseSignature(signature(changes))).toBeNull();
  });

  test.each(['', ';', `${signature()}; d=other.example`, `${signature()};; x=1`, `${signature()}; nonsense`])(
    'ignores %j',
    (value) => {
      expect(parseSignature(value)).toBeNull();
    },
  );

  test('long white space is no burden', () => {
    const start = performance.now();
    for (const tag of ['n', 'b', 'h', 'd', 'bh'])
      parseSignature(signature({ [tag]: `x${' '.repeat(250_000)}x` }));
    parseSignature(`${' '.repeat(250_000)}x`);
    withoutSignatureData(`b${' '.repeat(250_000)};`.repeat(3));
    expect(performance.now() - start).toBeLessThan(1000);
  });

  test('never throws', () => {
    const unit = fc.constantFrom(
      'v=1',
      ';',
      'a=',
      'd=',
      'b',
      '=',
      'rsa-sha256',
      ' ',
      '\r\n ',
      'x=9',
      ':',
      '/',
    );
    fc.assert(fc.property(fc.string({ unit, maxLength: 60 }), (value) => parseSignature(value) === null));
  });
});

describe('withoutSignatureData', () => {
  test.each([
    [' v=1; b=abc', ' v=1; b='],
    [' b=ab\r\n\tc ; bh=x', ' b=; bh=x'],
    [' bh=b=; b =\r\n\tabc; h=from', ' bh=b=; b =; h=from'],
    [' v=1', ' v=1'],
  ])('%j becomes %j', (value, expected) => {
    expect(withoutSignatureData(value)).toBe(expected);
  });
});

describe('parseKeyRecord', () => {
  test.each([
    ['as chatmail relays publish', `v=DKIM1;k=rsa;p=${spki};s=email;t=s`, true],
    ['p alone', `p=${spki}`, false],
    [
      'with white space and notes',
      `v=DKIM1; k=rsa; n=a note; h=sha1:sha256;\tp=${spki.slice(0, 50)} ${spki.slice(50)};`,
      false,
    ],
    ['with something that is no tag', `v=DKIM1; stray; p=${spki}`, false],
    [
      'the bare RSAPublicKey',
      `k=rsa; p=${rsa.export({ type: 'pkcs1', format: 'der' }).toString('base64')}`,
      false,
    ],
  ])('reads a key %s', (_, text, exactIdentity) => {
    const record = parseKeyRecord(text);
    expect(record).toMatchObject({ algorithm: 'rsa', exactIdentity });
    expect(record?.key.equals(rsa)).toBe(true);
  });

  test('reads an Ed25519 key', () => {
    expect(parseKeyRecord(`v=DKIM1; k=ed25519; p=${ed25519}`)).toMatchObject({ algorithm: 'ed25519' });
  });

  const smallKey = generateKeyPairSync('rsa', { modulusLength: 512 }).publicKey;
  test.each([
    ['nothing', ''],
    ['another record', 'v=spf1 -all'],
    ['another version', `v=DKIM2; p=${spki}`],
    ['a revoked key', 'v=DKIM1; p='],
    ['no key', 'v=DKIM1; k=rsa'],
    ['broken base64', 'v=DKIM1; p=!'],
    ['a key twice', `p=${spki}; p=${spki}`],
    ['a key not for SHA-256', `h=sha1; p=${spki}`],
    ['a key not for mail', `s=other; p=${spki}`],
    ['another type', `k=dsa; p=${spki}`],
    ['an RSA key as Ed25519', `k=ed25519; p=${spki}`],
    ['an Ed25519 key as RSA', `p=${ed25519}`],
    ['512 bits', `p=${smallKey.export({ type: 'spki', format: 'der' }).toString('base64')}`],
    ['4,097 characters', `p=${spki}; n=${'x'.repeat(4097 - spki.length - 6)}`],
  ])('refuses %s', (_, text) => {
    expect(parseKeyRecord(text)).toBeNull();
  });
});
