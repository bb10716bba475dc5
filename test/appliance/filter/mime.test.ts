import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeTransfer,
  parseContentType,
  parseHeaderSection,
  splitMultipart,
} from '../../../appliance/filter/mime.ts';
import { fields, lines } from '../../fixtures/filter/messages.ts';

function split(body: string, boundary = 'b', maxParts = 3): string[] | null {
  const parts = splitMultipart(Buffer.from(body, 'latin1'), boundary, { maxParts });
  return parts?.map((part) => part.body.toString('latin1')) ?? null;
}

describe('parseContentType', () => {
  test.each([
    [' text/plain', 'text/plain', {}],
    [' Multipart/ENCRYPTED; Boundary=abc', 'multipart/encrypted', { boundary: 'abc' }],
    [' a/b; x="1;2" ; y = 3', null, {}],
    [' a/b; x="1;2" ;y=3;', 'a/b', { x: '1;2', y: '3' }],
    [' a/b; x="q\\"uo\\\\ted"', 'a/b', { x: 'q"uo\\ted' }],
    [' a/b;;x=1', 'a/b', { x: '1' }],
    ['', null, {}],
    [' text', null, {}],
    [' text/plain (comment)', null, {}],
    [' text/plain; boundary', null, {}],
    [' text/plain; boundary="unfinished', null, {}],
    [' text/plain; boundary=a; BOUNDARY=b', null, {}],
    [' text/plain; boundary*0=a; boundary*1=b', null, {}],
    [' text/plain, text/html', null, {}],
  ])('reads %j as %j', (value, type, parameters) => {
    const parsed = parseContentType(value);
    expect(parsed?.type ?? null).toBe(type);
    if (parsed !== null) expect(Object.fromEntries(parsed.parameters)).toEqual(parameters);
  });

  test('refuses a value longer than 2,048 characters', () => {
    expect(parseContentType(` a/b; x=${'y'.repeat(2048)}`)).toBeNull();
  });
});

describe('splitMultipart', () => {
  test('takes blank lines before, between and after, and space after a delimiter', () => {
    const body = '\r\n\r\n--b  \r\n\r\none\r\n\r\n--b\t\r\nX: y\r\n\r\ntwo\r\n--b-- \r\n\r\n';
    expect(split(body)).toEqual(['one\r\n', 'two']);
  });

  test.each([
    ['text in the preamble', 'hello\r\n--b\r\n\r\none\r\n--b--\r\n'],
    ['space in the preamble', ' \r\n--b\r\n\r\none\r\n--b--\r\n'],
    ['text in the epilogue', '--b\r\n\r\none\r\n--b--\r\nhello\r\n'],
    ['a part in the epilogue', '--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\ntwo\r\n--b--\r\n'],
    ['text behind the last delimiter', '--b\r\n\r\none\r\n--b--hello\r\n'],
    ['text behind a delimiter', '--b\r\n\r\none\r\n--bc\r\n--b--\r\n'],
    ['text far behind a delimiter', `--b${' '.repeat(1500)}hello\r\n\r\none\r\n--b--\r\n`],
    ['text far behind the last delimiter', `--b\r\n\r\none\r\n--b--${' '.repeat(1500)}hello\r\n`],
    ['one dash too few at the end', '--b\r\n\r\none\r\n--b-\r\n'],
    ['no last delimiter', '--b\r\n\r\none\r\n'],
    ['no delimiter', 'hello\r\n'],
    ['only the last delimiter', '--b--\r\n'],
    ['a part without an empty line', '--b\r\nX: y\r\n--b--\r\n'],
    ['a part that is no header section', '--b\r\nhello\r\n\r\none\r\n--b--\r\n'],
    ['space before the colon', '--b\r\nX : y\r\n\r\none\r\n--b--\r\n'],
    ['a continuation line first', '--b\r\n X: y\r\n\r\none\r\n--b--\r\n'],
    ['four parts of three', `${'--b\r\n\r\nx\r\n'.repeat(4)}--b--\r\n`],
    ['an empty body', ''],
  ])('refuses %s', (_, body) => {
    expect(split(body)).toBeNull();
  });

  test('a delimiter inside a line, or after a bare line feed, is text', () => {
    expect(split('--b\r\n\r\nx --b\r\ny\n--b--\r\nz\r\n--b--\r\n')).toEqual(['x --b\r\ny\n--b--\r\nz']);
  });

  test.each(['', ' ', 'a b ', 'ä', 'x'.repeat(71), 'a\r\nb', 'a"b'])(
    'refuses the boundary %j',
    (boundary) => {
      expect(split(`--${boundary}\r\n\r\none\r\n--${boundary}--\r\n`, boundary)).toBeNull();
    },
  );

  test('takes a named preamble, and no other', () => {
    const body = (text: string) => Buffer.from(`${text}\r\n--b\r\n\r\none\r\n--b--\r\n`);
    const options = { maxParts: 1, preambles: ['This is MIME'] };
    expect(splitMultipart(body('This is MIME'), 'b', options)).toHaveLength(1);
    expect(splitMultipart(body('\r\nThis is MIME\r\n'), 'b', options)).toHaveLength(1);
    expect(splitMultipart(body('This is MIME, and more'), 'b', options)).toBeNull();
  });

  test('refuses a truncation anywhere before the end of the last delimiter', () => {
    const body = '\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--';
    expect(split(body)).toEqual(['one', 'two']);
    for (let end = 0; end < body.length; end++) expect(split(body.slice(0, end))).toBeNull();
  });

  test('gives back the parts that were joined', () => {
    const part = fc
      .string({ unit: fc.constantFrom('a', '-', '\r\n', ' ', 'x'), maxLength: 20 })
      .filter((text) => !text.includes('--'));
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 3 }), (parts) => {
        const body = `${parts.map((text) => `--b\r\n\r\n${text}\r\n`).join('')}--b--\r\n`;
        expect(split(body)).toEqual(parts);
      }),
    );
  });

  test('never throws, and never finds more parts than asked for', () => {
    const soup = fc.string({
      unit: fc.constantFrom('--b', '--', 'b', '\r\n', '\r', '\n', ' ', ':', 'X', '\0'),
      maxLength: 200,
    });
    fc.assert(fc.property(soup, (body) => (split(body)?.length ?? 0) <= 3));
  });

  test('takes time in proportion to the size, however many delimiters there are', () => {
    // A part for every line, delimiters that are none, header bombs: 4 MB each, done in well under a second.
    const size = 4_000_000;
    for (const piece of ['--b\r\n', ' --b', '--b', '--b\r\nX: y\r\n', '\r\n', 'X:\r\n ']) {
      const body = Buffer.from(piece.repeat(size / piece.length));
      const start = performance.now();
      expect(splitMultipart(body, 'b', { maxParts: 2 })).toBeNull();
      expect(performance.now() - start).toBeLessThan(3000);
    }
  });
});

describe('parseHeaderSection', () => {
  test('keeps folds in the value', () => {
    expect(parseHeaderSection('A: 1\r\nB: 2\r\n\t3\r\nC:')).toEqual(fields('A: 1', 'B: 2\r\n\t3', 'C:'));
  });

  test('refuses more than 100 fields', () => {
    const many = (count: number) => Array.from({ length: count }, () => 'A: 1').join('\r\n');
    expect(parseHeaderSection(many(100))).toHaveLength(100);
    expect(parseHeaderSection(many(101))).toBeNull();
  });
});

describe('decodeTransfer', () => {
  const decode = (encoding: string, body: string) =>
    decodeTransfer({
      headers: fields(`Content-Transfer-Encoding: ${encoding}`),
      body: Buffer.from(body, 'latin1'),
    })?.toString('latin1') ?? null;

  test.each([
    ['7bit', 'as it is', 'as it is'],
    ['8BIT', '\xe4', '\xe4'],
    ['base64', 'SGVs\r\nbG8=\r\n', 'Hello'],
    ['base64', 'SGVsbG8', null],
    ['base64', 'SGVs bG8=', null],
    ['quoted-printable', 'a=3Db=\r\nc\r\n', 'a=bc\r\n'],
    ['quoted-printable', 'a=3db', null],
    ['quoted-printable', 'a=', null],
    ['quoted-printable', 'a \r\n', null],
    ['quoted-printable', '\xe4', null],
    ['x-uuencode', 'a', null],
    ['7bit (comment)', 'a', null],
  ])('takes %s off %j', (encoding, body, expected) => {
    expect(decode(encoding, body)).toBe(expected);
  });

  test.each([
    ['base64', 'QUJD'.repeat(1_000_000), 'ABC'.repeat(1_000_000)],
    ['base64', `${'QUJD'.repeat(1_000_000)}=`, null],
    ['base64', `Q===${'QUJD'.repeat(1_000_000)}`, null],
    ['quoted-printable', '=41'.repeat(1_000_000), 'A'.repeat(1_000_000)],
    ['quoted-printable', `${'=41'.repeat(1_000_000)}=4`, null],
  ])('%s of megabytes is no burden', (encoding, body, expected) => {
    expect(decode(encoding, body) === expected).toBe(true);
  });

  test('refuses two encodings', () => {
    const headers = fields('Content-Transfer-Encoding: 7bit', 'content-transfer-encoding: base64');
    expect(decodeTransfer({ headers, body: Buffer.from(lines('a')) })).toBeNull();
  });
});
