import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { createReplyDecoder, formatReply, parseReplyText } from '../../../appliance/smtp/reply.ts';

const ehlo = '250-mx.example.org\r\n250-PIPELINING\r\n250 SIZE 1000\r\n';

describe('createReplyDecoder', () => {
  test('reads replies of one line and of several, whatever the cuts', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 20 }), (cuts) => {
        const bytes = Buffer.from(`220 hello\r\n${ehlo}421\r\n`);
        const decoder = createReplyDecoder();
        const replies = [];
        let at = 0;
        for (const cut of [...cuts, bytes.length]) {
          replies.push(...decoder.push(bytes.subarray(at, at + cut)));
          at += cut;
        }
        expect(replies).toEqual([
          { code: 220, lines: ['hello'] },
          { code: 250, lines: ['mx.example.org', 'PIPELINING', 'SIZE 1000'] },
          { code: 421, lines: [''] },
        ]);
        expect(decoder.isPending).toBe(false);
      }),
    );
  });

  test('holds an unfinished reply back', () => {
    const decoder = createReplyDecoder();
    expect(decoder.push(Buffer.from('250-mx\r\n250'))).toEqual([]);
    expect(decoder.isPending).toBe(true);
  });

  test.each([
    ['HTTP', 'HTTP/1.1 400 Bad Request\r\n'],
    ['a code that changes', '250-a\r\n251 b\r\n'],
    ['a line without end', '2'.repeat(3000)],
    ['a reply without end', '250-a\r\n'.repeat(200)],
    ['a code that is none', '999 a\r\n'],
  ])('refuses %s', (_, text) => {
    expect(() => createReplyDecoder().push(Buffer.from(text))).toThrow(ProtocolError);
  });

  test('lets nothing through that a log or a header could choke on', () => {
    const [reply] = createReplyDecoder().push(Buffer.from('550 a\x1b[2J\tb\xff\r\n', 'latin1'));
    expect(reply).toEqual({ code: 550, lines: ['a?[2J?b?'] });
  });
});

describe('parseReplyText', () => {
  test.each([
    ['250 2.0.0 Ok\r\n', '250 2.0.0 Ok'],
    ['523 Encryption Needed: Invalid Unencrypted Mail', '523 Encryption Needed: Invalid Unencrypted Mail'],
    ['550-5.1.1 No such user\r\n550 5.1.1 Ask somebody else', '550 5.1.1 No such user Ask somebody else'],
    ['451', '451 No reason given'],
  ])('takes %j', (text, line) => {
    const reply = parseReplyText(text);
    expect(reply && formatReply(reply)).toBe(line);
  });

  test.each(['', '<html>413</html>', '354 go on', '600 x', '5501 x', '550 a\r\nx', '550 a\n250 b'])(
    'takes %j for something else',
    (text) => {
      expect(parseReplyText(text)).toBeNull();
    },
  );
});

describe('formatReply', () => {
  test('is one bounded line, whatever was said', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 900 }), { minLength: 1, maxLength: 5 }), (texts) => {
        const parsed = parseReplyText(texts.map((text) => `550 ${text.replace(/[\r\n]/g, '')}`).join('\n'));
        if (parsed === null) return;
        const line = formatReply(parsed);
        expect(line).toMatch(/^550 [\x20-\x7e]+$/);
        expect(line.length).toBeLessThanOrEqual(510);
      }),
    );
  });
});
