import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { createDotStuffer, createDotUnstuffer } from '../../../appliance/smtp/dot-stuffing.ts';

/** Cuts `bytes` at the places that `cuts` says. */
function cut(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const length of [...cuts, bytes.length]) {
    parts.push(bytes.subarray(at, at + length));
    at += length;
  }
  return parts;
}

function stuff(parts: readonly Uint8Array[]): Buffer {
  const stuffer = createDotStuffer();
  return Buffer.concat([...parts.flatMap((part) => stuffer.push(part)), stuffer.end()]);
}

function unstuff(parts: readonly Uint8Array[]): { body: Buffer; rest: Buffer } | null {
  const unstuffer = createDotUnstuffer();
  const body: Uint8Array[] = [];
  for (const [index, part] of parts.entries()) {
    const read = unstuffer.push(part);
    // Copied as a caller must: parts are views.
    body.push(...read.parts.map((bytes) => Buffer.from(bytes)));
    if (read.rest !== undefined) {
      return { body: Buffer.concat(body), rest: Buffer.concat([read.rest, ...parts.slice(index + 1)]) };
    }
  }
  return null;
}

const cuts = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 30 });
/** Bodies made of what is hard about them. */
const body = fc
  .array(fc.constantFrom('.', '\r\n', 'a', '..', '\r\n.', 'bc'), { maxLength: 20 })
  .map((parts) => parts.join(''));

describe('dot stuffing', () => {
  test.each([
    ['', '.\r\n'],
    ['.', '..\r\n.\r\n'],
    ['.\r\n', '..\r\n.\r\n'],
    ['a\r\n.\r\nb', 'a\r\n..\r\nb\r\n.\r\n'],
    ['a\r\n..b\r\n', 'a\r\n...b\r\n.\r\n'],
  ])('sends %j as %j', (text, sent) => {
    expect(stuff([Buffer.from(text)]).toString()).toBe(sent);
  });

  test('goes both ways, whatever the cuts, and stops exactly at the end', () => {
    fc.assert(
      fc.property(body, cuts, cuts, (text, one, other) => {
        const sent = stuff(cut(Buffer.from(text), one));
        const read = unstuff(cut(Buffer.concat([sent, Buffer.from('QUIT\r\n')]), other));
        const whole = text === '' || text.endsWith('\r\n') ? text : `${text}\r\n`;
        expect(read?.body.toString()).toBe(whole);
        expect(read?.rest.toString()).toBe('QUIT\r\n');
      }),
      { numRuns: 500 },
    );
  });

  test('the end is never seen inside of a body, however it is cut short', () => {
    const sent = stuff([Buffer.from('a\r\n.\r\n\r\n.b')]);
    for (let length = 0; length < sent.length; length++) {
      expect(unstuff([sent.subarray(0, length)])).toBeNull();
    }
  });

  test.each(['a\nb', 'a\rb', '\n', '\r', 'a\r\r\n', 'x\n.\r\n', 'x\r\n.\n', 'x\r.\r'])(
    'refuses the bare line end in %j, whatever the cuts',
    (text) => {
      fc.assert(
        fc.property(cuts, (where) => {
          expect(() => stuff(cut(Buffer.from(text), where))).toThrow(ProtocolError);
        }),
      );
    },
  );

  test('only CRLF . CRLF ends what is read; bare line ends are left to the message', () => {
    for (const text of ['a\n.\nb\r\n', 'a\n.\r\nb\r\n', 'a\r.\rb\r\n', '.\rb\r\n', 'a\r\n.\nb\r\n']) {
      const read = unstuff([Buffer.from(`${text}.\r\n`)]);
      expect(read?.body.toString()).toBe(text.replace(/^\.|(?<=\r\n)\./g, ''));
    }
  });
});
