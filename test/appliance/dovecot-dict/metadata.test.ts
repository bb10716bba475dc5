import { beforeEach, describe, expect, test } from 'vitest';
import { createMetadata, maxTokenLength } from '../../../appliance/dovecot-dict/metadata.ts';
import type { Dictionary } from '../../../appliance/dovecot-dict/session.ts';

const guid = '28f886030a0d016bcb00000083ecc375';
const tokenKey = `priv/${guid}/devicetoken`;
const serverKey = (name: string) =>
  `shared/${guid}/vendor/vendor.dovecot/pvt/server/vendor/deltachat/${name}`;

let tokens: string[];
let metadata: Dictionary;
beforeEach(() => {
  tokens = [];
  metadata = createMetadata({
    tokens: () => tokens,
    addToken: (address, token) => tokens.push(`${address}:${token}`),
    serverEntry: (entry) => (entry === 'maxsmtprecipients' ? '1000' : null),
  });
});

describe('createMetadata', () => {
  test('hands all tokens of an account out, joined by spaces', () => {
    expect(metadata.lookup('a@x', tokenKey)).toBeNull();
    expect(metadata.set('a@x', tokenKey, '1111')).toBe(true);
    expect(metadata.set('a@x', tokenKey, 'openpgp:wV4D+/8=')).toBe(true);
    expect(metadata.lookup('a@x', tokenKey)).toBe('a@x:1111 a@x:openpgp:wV4D+/8=');
  });

  test('ignores a removal: other devices have theirs there too', () => {
    metadata.set('a@x', tokenKey, '1111');
    expect(metadata.set('a@x', tokenKey, null)).toBe(true);
    expect(tokens).toHaveLength(1);
  });

  test.each(['', 'two words', 'line\nbreak', 'ünicode', 'x'.repeat(maxTokenLength + 1)])(
    'refuses %j as a token',
    (token) => {
      expect(metadata.set('a@x', tokenKey, token)).toBe(false);
      expect(tokens).toEqual([]);
    },
  );

  test('tells what the server has to say, and nothing about what it has not', () => {
    expect(metadata.lookup('a@x', serverKey('maxsmtprecipients'))).toBe('1000');
    expect(metadata.lookup('a@x', serverKey('turn'))).toBeNull();
    expect(metadata.lookup('a@x', serverKey('constructor'))).toBeNull();
  });

  test('lets nobody write anything else', () => {
    expect(metadata.set('a@x', serverKey('maxsmtprecipients'), '5')).toBe(false);
    expect(metadata.set('a@x', `priv/${guid}/other`, 'x')).toBe(false);
    expect(metadata.set('a@x', `priv/${guid}/devicetoken/more`, 'x')).toBe(false);
  });
});
