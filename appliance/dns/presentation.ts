/** The text form of RDATA (RFC 1035 §5.1): words and quoted strings, with their escapes. */

/** A word or a quoted string. */
export interface Token {
  readonly bytes: Uint8Array;
  readonly text: string;
}

/** A value longer than this is no RDATA (65,535 bytes, each at most 4 characters, and quotes). */
const maxValueLength = 400_000;

/** Splits presentation text at spaces outside quotes, undoing quotes and escapes. */
export function tokenise(value: string): Token[] {
  if (value.length > maxValueLength) throw new RangeError('A record value is too long');
  const tokens: Token[] = [];
  const pattern = /\s*(?:"((?:\\\d{3}|\\[^]|[^"\\])*)"|((?:\\\d{3}|\\[^]|[^\s"\\])+))/gy;
  let end = 0;
  for (let match = pattern.exec(value); match !== null; match = pattern.exec(value)) {
    end = pattern.lastIndex;
    const raw = match[1] ?? match[2] ?? '';
    tokens.push({ bytes: unescapeText(raw), text: raw });
  }
  if (value.slice(end).trim() !== '') {
    throw new RangeError(`The record value ${JSON.stringify(value)} has an unfinished quote or escape`);
  }
  return tokens;
}

function unescapeText(raw: string): Uint8Array {
  const parts: Buffer[] = [];
  const pattern = /\\(\d{3})|\\([^])|([^\\]+)/g;
  for (const [, code, character, plain] of raw.matchAll(pattern)) {
    if (code !== undefined) {
      if (Number(code) > 0xff) throw new RangeError(`The escape \\${code} is not a byte`);
      parts.push(Buffer.from([Number(code)]));
    } else {
      parts.push(Buffer.from(character ?? plain ?? '', 'utf8'));
    }
  }
  return Buffer.concat(parts);
}

/**
 * The text of a TXT value, its strings joined (RFC 7208 §3.3, RFC 6376 §3.6.2.2). Bytes that are not UTF-8
 * become U+FFFD.
 */
export function txtText(value: string): string {
  return Buffer.concat(tokenise(value).map((token) => token.bytes)).toString('utf8');
}
