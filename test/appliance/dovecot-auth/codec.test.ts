import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import {
  decodeClientLine,
  decodePlain,
  encodeAccepted,
  encodeContinue,
  encodeFailed,
  encodeGreeting,
} from '../../../appliance/dovecot-auth/codec.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');

describe('decodeClientLine', () => {
  test('reads what Postfix 3.10 sends', () => {
    expect(decodeClientLine('VERSION\t1\t0')).toEqual({ kind: 'version', major: 1 });
    expect(decodeClientLine('CPID\t4711')).toEqual({ kind: 'pid' });
    expect(
      decodeClientLine(
        'AUTH\t1\tPLAIN\tservice=smtp\tnologin\tlip=127.0.0.1\trip=127.0.0.1\tsecured\tresp=AGEAYg==',
      ),
    ).toEqual({ kind: 'auth', id: '1', mechanism: 'PLAIN', response: 'AGEAYg==' });
    expect(decodeClientLine('AUTH\t2\tPLAIN\tservice=smtp')).toMatchObject({ id: '2', response: null });
    expect(decodeClientLine('CONT\t2\tAGEAYg==')).toEqual({
      kind: 'continue',
      id: '2',
      response: 'AGEAYg==',
    });
    expect(decodeClientLine('CANCEL\t2')).toEqual({ kind: 'cancel', id: '2' });
  });

  test('ignores commands it does not know, as the protocol asks', () => {
    expect(decodeClientLine('PONY\t1')).toEqual({ kind: 'unknown' });
    expect(decodeClientLine('')).toEqual({ kind: 'unknown' });
  });

  test.each(['AUTH', 'AUTH\tx\tPLAIN', 'AUTH\t12345678901\tPLAIN', 'CONT', 'CANCEL\t-1'])(
    'refuses %j',
    (line) => {
      expect(() => decodeClientLine(line)).toThrow(ProtocolError);
    },
  );
});

describe('decodePlain', () => {
  test('reads name and password, UTF-8 and spaces included', () => {
    expect(decodePlain(base64('\0alice@x\0p ä😀'))).toEqual({ username: 'alice@x', password: 'p ä😀' });
    expect(decodePlain(base64('alice@x\0alice@x\0pw'))).toEqual({ username: 'alice@x', password: 'pw' });
  });

  test.each([
    ['no NUL', 'alice'],
    ['one NUL', 'alice\0pw'],
    ['three NULs', '\0alice\0pw\0'],
    ['no name', '\0\0pw'],
    ['no password', '\0alice\0'],
    ['somebody else to act as', 'bob@x\0alice@x\0pw'],
    ['an endless name', `\0${'a'.repeat(255)}\0pw`],
  ])('refuses %s', (_, text) => {
    expect(decodePlain(base64(text))).toBeNull();
  });

  test('refuses what is not base64', () => {
    expect(decodePlain('!!!!')).toBeNull();
    expect(decodePlain('')).toBeNull();
  });
});

describe('replies', () => {
  test('are those of the protocol, byte by byte', () => {
    expect(encodeGreeting({ pid: 7, connectionId: 3, cookie: '00112233445566778899aabbccddeeff' })).toBe(
      'VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t7\nCUID\t3\nCOOKIE\t00112233445566778899aabbccddeeff\nDONE\n',
    );
    expect(encodeContinue('5')).toBe('CONT\t5\t\n');
    expect(encodeAccepted('5', 'a@b')).toBe('OK\t5\tuser=a@b\n');
    expect(encodeFailed('5')).toBe('FAIL\t5\n');
    expect(encodeFailed('5', { temporary: true })).toBe('FAIL\t5\ttemp\n');
  });
});
