import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { decodeDictCommand, encodeCommitResult, encodeValue } from '../../../appliance/dovecot-dict/codec.ts';
import { createDictSession } from '../../../appliance/dovecot-dict/session.ts';

function start() {
  const written: string[] = [];
  const values = new Map<string, string>();
  const session = createDictSession(
    {
      lookup: (user, key) => values.get(`${user} ${key}`) ?? null,
      set: (user, key, value) => {
        if (key.startsWith('fixed/')) return false;
        if (value === null) values.delete(`${user} ${key}`);
        else values.set(`${user} ${key}`, value);
        return true;
      },
    },
    (text) => written.push(text),
  );
  return { values, written, push: (text: string) => session.push(Buffer.from(text)) };
}

describe('createDictSession', () => {
  // Recorded from Dovecot 2.4.1's imap process.
  const recorded =
    'H4\t0\t0\t\tmetadata\n' +
    'Lpriv/28f886030a0d016bcb00000083ecc375/devicetoken\talice@x\n' +
    'B1\talice@x\t0\nS1\tpriv/28f886030a0d016bcb00000083ecc375/devicetoken\t1111\nC1\n' +
    'Lpriv/28f886030a0d016bcb00000083ecc375/devicetoken\talice@x\n';

  test('answers what Dovecot asks', () => {
    const { written, push } = start();
    push(recorded);
    expect(written).toEqual(['N\n', 'O1\n', 'O1111\n']);
  });

  test('answers the same when the bytes come one at a time', () => {
    const { written, push } = start();
    for (const character of recorded) push(character);
    expect(written).toEqual(['N\n', 'O1\n', 'O1111\n']);
  });

  test('changes nothing before the commit, nor after a rollback', () => {
    const { values, push } = start();
    push('B1\tu\nS1\tpriv/a\tx\n');
    expect(values.size).toBe(0);
    push('R1\nB1\tu\nS1\tpriv/a\ty\n');
    expect(values.size).toBe(0);
    push('C1\n');
    expect([...values]).toEqual([['u priv/a', 'y']]);
    push('B2\tu\nU2\tpriv/a\nC2\n');
    expect(values.size).toBe(0);
  });

  test('reports a change that was refused, synchronous and asynchronous', () => {
    const { written, push } = start();
    push('B7\tu\nS7\tfixed/a\tx\nC7\nB8\tu\nS8\tpriv/a\tx\nD8\n');
    expect(written).toEqual(['F7\tThis entry cannot be changed\n', 'AO8\n']);
  });

  test('escapes and unescapes values', () => {
    const { values, written, push } = start();
    push('B1\tu\nS1\tpriv/a\tone\u0001ttwo\u0001nthree\nC1\nLpriv/a\tu\n');
    expect(values.get('u priv/a')).toBe('one\ttwo\nthree');
    expect(written[1]).toBe('Oone\u0001ttwo\u0001nthree\n');
  });

  test('takes timestamps and hints without an answer, and has nothing to iterate over', () => {
    const { written, push } = start();
    push('B1\tu\nT1\t0\t0\nV1\tyes\nI0\t0\tpriv/\tu\n');
    expect(written).toEqual(['\n']);
  });

  test.each([
    ['another protocol version', 'H3\t0\t0\t\tmetadata\n'],
    ['an unknown command', 'Z\n'],
    ['an empty line', '\n'],
    ['missing fields', 'S1\tkey\n'],
    ['a transaction that was not begun', 'C1\n'],
    ['a transaction begun twice', 'B1\tu\nB1\tu\n'],
    ['too many transactions', Array.from({ length: 17 }, (_, id) => `B${id}\tu\n`).join('')],
    ['too many changes', `B1\tu\n${'S1\tk\tv\n'.repeat(65)}`],
    ['an endless line', 'L'.repeat(17_000)],
  ])('gives up on %s', (_, text) => {
    expect(() => start().push(text)).toThrow(ProtocolError);
  });

  test('never throws anything but ProtocolError, whatever comes', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(
            fc.constantFrom(...'H L I B S U C D R T V X'.split(' ')),
            fc.array(fc.constantFrom('1', '4', 'k', '\u0001')),
          ),
        ),
        (lines) => {
          try {
            start().push(lines.map(([command, fields]) => `${command}${fields.join('\t')}\n`).join(''));
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolError);
          }
        },
      ),
    );
  });
});

describe('dict codec', () => {
  test('reads every command', () => {
    expect(decodeDictCommand('Lkey')).toEqual({ kind: 'lookup', key: 'key', user: '' });
    expect(decodeDictCommand('S1\tk\tv')).toEqual({ kind: 'set', id: '1', key: 'k', value: 'v' });
    expect(decodeDictCommand('D4')).toEqual({ kind: 'commit', id: '4', isAsync: true });
  });

  test('writes values and results', () => {
    expect(encodeValue('a\tb')).toBe('Oa\u0001tb\n');
    expect(encodeCommitResult('3', true, 'no\tway')).toBe('AF3\tno\u0001tway\n');
  });
});
