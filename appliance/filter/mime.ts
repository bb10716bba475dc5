/**
 * As much MIME as the gate needs, bounded and strict: Content-Type, the parts of a multipart, transfer
 * encodings. It reads only what every reader reads in the same way; anything else is null, never a guess.
 * No nesting, no RFC 2231 parameters, no comments. Source: RFC 2045, RFC 2046.
 */
import { type HeaderField, onlyValue, valuesOf } from './message.ts';

/** A Content-Type value; longer ones are not read. */
const maxContentTypeLength = 2048;
/** RFC 2046 §5.1.1. */
const boundaryPattern = /^[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]$/;
/** A delimiter line with the white space that may follow it; RFC 5322 §2.1.1 has no longer lines. */
const maxDelimiterLine = 998;
/** The header section of one part. */
const maxPartHeaderBytes = 64 * 1024;
const maxPartHeaders = 100;

export interface ContentType {
  /** Lower case, `multipart/encrypted`. */
  readonly type: string;
  /** By lower-case name. */
  readonly parameters: ReadonlyMap<string, string>;
}

export interface MimePart {
  readonly headers: readonly HeaderField[];
  /** As transferred. */
  readonly body: Buffer;
}

/** One step of the grammar: `; name=value`, value a token or a quoted string. */
const parameterPattern =
  /[ \t]*;[ \t]*(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)|"((?:[^"\\\r\n]|\\[\t -~])*)")[ \t]*)?/y;

/** Reads an unfolded Content-Type value (RFC 2045 §5.1); null when it is not one, or names a parameter twice. */
export function parseContentType(value: string): ContentType | null {
  if (value.length > maxContentTypeLength) return null;
  const head = /^[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+\/[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*/.exec(value);
  if (head === null) return null;
  const parameters = new Map<string, string>();
  let offset = head[0].length;
  while (offset < value.length) {
    parameterPattern.lastIndex = offset;
    const match = parameterPattern.exec(value);
    if (match === null) return null;
    offset = parameterPattern.lastIndex;
    const name = match[1]?.toLowerCase();
    // An empty parameter is a stray semicolon, which many programs write.
    if (name === undefined) continue;
    // RFC 2231's `boundary*=` is read by some and ignored by others.
    if (parameters.has(name) || name.includes('*')) return null;
    parameters.set(name, match[2] ?? (match[3] ?? '').replace(/\\(.)/g, '$1'));
  }
  return { type: (head[1] ?? '').toLowerCase(), parameters };
}

/** The Content-Type of a header section; null when there is not exactly one readable one. */
export function contentTypeOf(headers: readonly HeaderField[]): ContentType | null {
  const value = onlyValue(headers, 'Content-Type');
  return value === null ? null : parseContentType(value);
}

export interface SplitOptions {
  readonly maxParts: number;
  /** Texts that may stand before the first part; by default only blank lines may. */
  readonly preambles?: readonly string[];
}

/**
 * The parts of a multipart body (RFC 2046 §5.1.1). Preamble and epilogue must be blank: what stands there
 * is in the mail yet shown by no MIME reader, so it would carry clear text past the gate.
 * @returns null when the structure is not exact, a part has a broken header section, or there are more than
 *   `maxParts`
 */
export function splitMultipart(
  body: Buffer,
  boundary: string,
  { maxParts, preambles = [] }: SplitOptions,
): MimePart[] | null {
  if (!boundaryPattern.test(boundary)) return null;
  const delimiter = `--${boundary}`;
  const parts: MimePart[] = [];
  let partStart: number | null = null;
  for (let at = body.indexOf(delimiter); at >= 0;) {
    const lineStart = at === 0 || (body[at - 2] === 13 && body[at - 1] === 10);
    if (!lineStart) {
      at = body.indexOf(delimiter, at + 1);
      continue;
    }
    const lineEnd = endOfLine(body, at);
    // A line that only begins like the delimiter is one to some readers and text to others.
    if (lineEnd - at > maxDelimiterLine) return null;
    const kind = /^(-{0,2})[ \t]*$/.exec(body.toString('latin1', at + delimiter.length, lineEnd))?.[1];
    if (kind === undefined || kind === '-') return null;
    if (partStart === null) {
      if (!isBlankOr(preambles, body, at) || kind === '--') return null;
    } else {
      if (parts.length === maxParts) return null;
      // The CRLF before the delimiter belongs to the delimiter.
      const part = parsePart(body.subarray(partStart, Math.max(partStart, at - 2)));
      if (part === null) return null;
      parts.push(part);
    }
    if (kind === '--') return isBlank(body, lineEnd, body.length) ? parts : null;
    partStart = Math.min(lineEnd + 2, body.length);
    at = body.indexOf(delimiter, partStart);
  }
  return null;
}

/** Reads header fields strictly (RFC 5322 §2.2): CRLF, no white space before the colon. Null otherwise. */
export function parseHeaderSection(text: string): HeaderField[] | null {
  const headers: HeaderField[] = [];
  if (text === '') return headers;
  for (const line of text.split('\r\n')) {
    const last = headers.at(-1);
    if (/^[ \t]/.test(line)) {
      if (last === undefined) return null;
      headers[headers.length - 1] = { name: last.name, value: `${last.value}\r\n${line}` };
      continue;
    }
    const match = /^([!-9;-~]+):(.*)$/s.exec(line);
    if (match === null || headers.length === maxPartHeaders) return null;
    headers.push({ name: match[1] ?? '', value: match[2] ?? '' });
  }
  return headers;
}

/** The part's content with its transfer encoding taken off; null when it is not exactly in that encoding. */
export function decodeTransfer({ headers, body }: MimePart): Buffer | null {
  if (valuesOf(headers, 'Content-Transfer-Encoding').length === 0) return body;
  switch (onlyValue(headers, 'Content-Transfer-Encoding')?.toLowerCase()) {
    case '7bit':
    case '8bit':
    case 'binary':
      return body;
    case 'base64':
      return decodeBase64(body);
    case 'quoted-printable':
      return decodeQuotedPrintable(body);
    default:
      return null;
  }
}

function parsePart(bytes: Buffer): MimePart | null {
  // A part without fields begins with the empty line.
  if (bytes[0] === 13 && bytes[1] === 10) return { headers: [], body: bytes.subarray(2) };
  const end = bytes.subarray(0, maxPartHeaderBytes).indexOf('\r\n\r\n');
  if (end < 0) return null;
  const headers = parseHeaderSection(bytes.toString('latin1', 0, end));
  return headers === null ? null : { headers, body: bytes.subarray(end + 4) };
}

function decodeBase64(body: Buffer): Buffer | null {
  const text = body.toString('latin1').replace(/[\r\n]+/g, '');
  const padding = text.indexOf('=');
  const digits = padding < 0 ? text.length : padding;
  // Not one anchored pattern: on text of this size its backtracking would overflow.
  if (text.length % 4 !== 0 || text.length - digits > 2 || /[^A-Za-z0-9+/=]/.test(text)) return null;
  if (/[^=]/.test(text.slice(digits))) return null;
  return Buffer.from(text, 'base64');
}

/** RFC 2045 §6.7: printable ASCII, `=` with two upper-case hex digits, `=` before a line end; no space there. */
function decodeQuotedPrintable(body: Buffer): Buffer | null {
  const decoded = Buffer.allocUnsafe(body.length);
  let length = 0;
  for (let at = 0; at < body.length; at++) {
    const byte = body[at] ?? 0;
    if (byte === 0x3d) {
      const pair = body.toString('latin1', at + 1, at + 3);
      at += 2;
      if (pair === '\r\n') continue;
      if (!/^[0-9A-F]{2}$/.test(pair)) return null;
      decoded[length++] = Number.parseInt(pair, 16);
    } else if (byte === 0x20 || byte === 0x09) {
      if (at + 1 === body.length || body[at + 1] === 13) return null;
      decoded[length++] = byte;
    } else if ((byte > 0x20 && byte < 0x7f) || byte === 13 || byte === 10) {
      decoded[length++] = byte;
    } else {
      return null;
    }
  }
  return decoded.subarray(0, length);
}

function endOfLine(bytes: Buffer, start: number): number {
  const end = bytes.indexOf('\r\n', start);
  return end < 0 ? bytes.length : end;
}

/** What stands before `end` is blank, or one of `texts`. */
function isBlankOr(texts: readonly string[], bytes: Buffer, end: number): boolean {
  if (isBlank(bytes, 0, end)) return true;
  const longest = Math.max(0, ...texts.map((text) => text.length));
  // Two line ends before and after are more than anybody writes.
  return end <= longest + 8 && texts.includes(bytes.toString('latin1', 0, end).trim());
}

/** Nothing but empty lines. */
function isBlank(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at] !== 13 && bytes[at] !== 10) return false;
  return true;
}
