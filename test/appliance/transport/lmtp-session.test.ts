import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { type LmtpEvent, LmtpSession } from '../../../appliance/transport/lmtp-session.ts';

const limits = { maxMessageBytes: 1000, maxRecipients: 3 };

/** Everything that a session makes of these bytes, cut as `cuts` says; parts of a message in one. */
function run(text: string, cuts: readonly number[] = []): LmtpEvent[] {
  const session = new LmtpSession(limits);
  const bytes = Buffer.from(text, 'latin1');
  const events: LmtpEvent[] = [];
  let at = 0;
  for (const length of [...cuts, bytes.length]) {
    session.push(bytes.subarray(at, at + length));
    at += length;
    for (let event = session.next(); event !== null; event = session.next()) {
      const last = events.at(-1);
      if (event.kind === 'part' && last?.kind === 'part') {
        events.splice(-1, 1, { kind: 'part', bytes: Buffer.concat([last.bytes, event.bytes]) });
      } else if (event.kind !== 'part' || event.bytes.length > 0) events.push(event);
    }
  }
  return events;
}

/** The codes of all replies. */
const codes = (text: string) =>
  run(text).map((event) => (event.kind === 'reply' ? event.text.slice(0, 3) : event.kind));

const hello = 'LHLO postfix\r\n';
const transaction =
  'MAIL FROM:<a@b.example> SIZE=20\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<e@f.example>\r\nDATA\r\n';

describe('LmtpSession', () => {
  test('reads whole sessions, pipelined and cut anywhere', () => {
    const text = `${hello}${transaction}Hi\r\n..\r\n.\r\n${transaction}\r\n.\r\nQUIT\r\n`;
    const whole = run(text);
    const aTransaction = ['reply', 'reply', 'reply', 'data', 'part', 'end'];
    expect(whole.map(({ kind }) => kind)).toEqual(['reply', ...aTransaction, ...aTransaction, 'quit']);
    expect(whole[4]).toEqual({
      kind: 'data',
      sender: 'a@b.example',
      recipients: ['c@d.example', 'e@f.example'],
      sizeBytes: 20,
    });
    expect(whole[5]).toEqual({ kind: 'part', bytes: Buffer.from('Hi\r\n.\r\n') });
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 60 }), (cuts) => {
        expect(run(text, cuts)).toEqual(whole);
      }),
    );
  });

  test('makes nothing of a session that is cut short', () => {
    const text = `${hello}${transaction}Hi\r\n.\r\n`;
    for (let length = 0; length < text.length; length++) {
      expect(run(text.slice(0, length)).some(({ kind }) => kind === 'end')).toBe(false);
    }
  });

  test('takes the null sender', () => {
    expect(run(`${hello}MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n`).at(-1)).toMatchObject({
      kind: 'data',
      sender: '',
    });
  });

  test.each([
    ['MAIL before LHLO', 'MAIL FROM:<a@b.example>\r\n', ['503']],
    ['RCPT before MAIL', `${hello}RCPT TO:<a@b.example>\r\n`, ['250', '503']],
    ['DATA before MAIL', `${hello}DATA\r\n`, ['250', '503']],
    ['DATA without recipients', `${hello}MAIL FROM:<a@b.example>\r\nDATA\r\n`, ['250', '250', '503']],
    ['a second MAIL', `${hello}${'MAIL FROM:<a@b.example>\r\n'.repeat(2)}`, ['250', '250', '503']],
    ['a size over the limit', `${hello}MAIL FROM:<a@b.example> SIZE=1001\r\n`, ['250', '552']],
    ['a sender with a tab', `${hello}MAIL FROM:<a\tb@c.example>\r\n`, ['250', '501']],
    ['a recipient without domain', `${hello}MAIL FROM:<>\r\nRCPT TO:<a>\r\n`, ['250', '250', '501']],
    [
      'a recipient with a byte of Latin-1',
      `${hello}MAIL FROM:<>\r\nRCPT TO:<\xe4@b.example>\r\n`,
      ['250', '250', '501'],
    ],
    ['brackets in brackets', `${hello}MAIL FROM:<>\r\nRCPT TO:<a<b>@c.example>\r\n`, ['250', '250', '501']],
    [
      'one recipient too many',
      `${hello}MAIL FROM:<>\r\n${'RCPT TO:<a@b.example>\r\n'.repeat(4)}`,
      ['250', '250', '250', '250', '250', '452'],
    ],
    [
      'RSET between',
      `${hello}MAIL FROM:<>\r\nRSET\r\nRCPT TO:<a@b.example>\r\n`,
      ['250', '250', '250', '503'],
    ],
    ['what it does not know', `${hello}EHLO x\r\nNOOP\r\n`, ['250', '500', '250']],
  ])('answers %s', (_, text, expected) => {
    expect(codes(text)).toEqual(expected);
  });

  test('a line without end is not kept', () => {
    expect(() => run('MAIL FROM:<'.padEnd(3000, 'a'))).toThrow(ProtocolError);
    expect(() => run(`MAIL FROM:<${'a'.repeat(3000)}>\r\n`)).toThrow(ProtocolError);
  });

  test('nothing that a peer can say makes it fail otherwise', () => {
    const words = fc.constantFrom(
      'LHLO x',
      'MAIL FROM:<>',
      'RCPT TO:<a@b.c>',
      'DATA',
      'RSET',
      '.',
      '\r\n',
      '\n',
      '\0',
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(words, fc.string()), { maxLength: 30 }), (parts) => {
        try {
          run(parts.join(''));
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
        }
      }),
    );
  });
});
