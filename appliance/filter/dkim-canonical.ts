/** What a DKIM signature is computed over: canonical header fields and bodies (RFC 6376 §3.4, §3.7). Pure. */
import { createHash, type Hash } from 'node:crypto';
import type { HeaderField } from './message.ts';

export type Canonicalization = 'simple' | 'relaxed';

const tab = 9;
const lineFeed = 10;
const carriageReturn = 13;
const space = 32;

/** A field as it enters the hash, CRLF included. Bytes above 127 are left alone. */
export function canonicalField({ name, value }: HeaderField, how: Canonicalization): string {
  if (how === 'simple') return `${name}:${value}\r\n`;
  const text = value
    .replace(/\r\n/g, '')
    .replace(/[ \t]+/g, ' ')
    .replace(/^ | $/g, '');
  return `${name.trim().toLowerCase()}:${text}\r\n`;
}

/** The DKIM-Signature field itself enters last, without CRLF (§3.7); its b= must be empty already. */
export function canonicalSignature(field: HeaderField, how: Canonicalization): string {
  return canonicalField(field, how).slice(0, -2);
}

/** bh=: SHA-256 over the canonical body, as base64. */
export function bodyHash(body: Buffer, how: Canonicalization): string {
  const hash = createHash('sha256');
  if (how === 'simple') hash.update(withoutEmptyEnd(body)).update('\r\n');
  else updateRelaxed(hash, body);
  return hash.digest('base64');
}

/** The fields that h= names: each name takes the last one not yet taken; a name too many stands for none. */
export function selectFields(headers: readonly HeaderField[], names: readonly string[]): HeaderField[] {
  const stacks = new Map<string, HeaderField[]>();
  for (const field of headers) {
    const name = field.name.trim().toLowerCase();
    const stack = stacks.get(name);
    if (stack === undefined) stacks.set(name, [field]);
    else stack.push(field);
  }
  return names.flatMap((name) => stacks.get(name)?.pop() ?? []);
}

/** §3.4.3: all empty lines at the end count as the one CRLF that is added. */
function withoutEmptyEnd(body: Buffer): Buffer {
  let end = body.length;
  while (end >= 2 && body[end - 2] === carriageReturn && body[end - 1] === lineFeed) end -= 2;
  return body.subarray(0, end);
}

/** Less than this is not worth a call of its own. */
const bulkBytes = 4096;

/**
 * Where the line of the next space or tab begins, or the end; asked for positions that only grow. Remembers,
 * so that no byte is searched twice however the body is made.
 */
function spacedLineFinder(body: Buffer): (from: number) => number {
  const next = { space: -1, tab: -1, either: -1, line: 0 };
  const find = (byte: number, from: number) => {
    const found = body.indexOf(byte, from);
    return found < 0 ? body.length : found;
  };
  return (from) => {
    if (next.space < from) next.space = find(space, from);
    if (next.tab < from) next.tab = find(tab, from);
    const either = Math.min(next.space, next.tab);
    if (either !== next.either) {
      next.either = either;
      next.line = body.lastIndexOf(lineFeed, either) + 1;
    }
    return next.line;
  };
}

/** §3.4.4, in slabs so that a large body costs no second one. */
function updateRelaxed(hash: Hash, body: Buffer): void {
  const slab = Buffer.allocUnsafe(64 * 1024);
  let filled = 0;
  const put = (byte: number): void => {
    slab[filled++] = byte;
    if (filled < slab.length) return;
    hash.update(slab);
    filled = 0;
  };
  let hasText = false;
  let whiteSpace = false;
  // Line ends wait until something follows: those at the end of the body do not count.
  let lineEnds = 0;
  const nextSpacedLine = spacedLineFinder(body);
  let lineStart = 0;
  for (let at = 0; at < body.length; at++) {
    if (at === lineStart) {
      // Lines without white space stay as they are: most of an encrypted message, taken in one go.
      const end = nextSpacedLine(at);
      if (end - at >= bulkBytes) {
        const text = withoutEmptyEnd(body.subarray(at, end));
        if (text.length > 0) {
          hash.update(slab.subarray(0, filled));
          filled = 0;
          for (; lineEnds > 0; lineEnds--) hash.update('\r\n');
          hash.update(text);
          hasText = true;
        }
        lineEnds += (end - at - text.length) / 2;
        lineStart = end;
        at = end - 1;
        continue;
      }
    }
    const byte = body[at] ?? 0;
    if (byte === space || byte === tab) {
      whiteSpace = true;
    } else if (byte === carriageReturn && body[at + 1] === lineFeed) {
      // White space at the end of a line is dropped.
      whiteSpace = false;
      lineEnds++;
      at++;
      lineStart = at + 1;
    } else {
      for (; lineEnds > 0; lineEnds--) {
        put(carriageReturn);
        put(lineFeed);
      }
      if (whiteSpace) put(space);
      whiteSpace = false;
      hasText = true;
      put(byte);
    }
  }
  hash.update(slab.subarray(0, filled));
  if (hasText) hash.update('\r\n');
}
