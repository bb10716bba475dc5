/**
 * RDATA as text and on the wire, for the types a relay meets; every other type is carried as RFC 3597 bytes
 * (`\# 3 0a0b0c`). Values are compared in their canonical text, so case, spaces, the way a TXT is split and
 * the spelling of an address do not matter.
 */
import { isIPv4, isIPv6, SocketAddress } from 'node:net';
import { ProtocolError } from '../base/errors.ts';
import { escapeTxt, txtValue } from '../contract/dns-records.ts';
import { decodeName, encodeName } from './name.ts';

/** IANA "DNS Parameters", Resource Record (RR) TYPEs. */
const typeNumbers: Readonly<Record<string, number>> = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DNAME: 39,
  OPT: 41,
  DS: 43,
  SSHFP: 44,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
  NSEC3: 50,
  TLSA: 52,
  SVCB: 64,
  HTTPS: 65,
  SPF: 99,
  TSIG: 250,
  AXFR: 252,
  ANY: 255,
  CAA: 257,
};
const typeNames = new Map(Object.entries(typeNumbers).map(([name, number]) => [number, name]));

/** @throws RangeError for a type that has neither a known name nor the form TYPE123 */
export function typeNumber(type: string): number {
  const number = typeNumbers[type] ?? Number(/^TYPE(\d{1,5})$/.exec(type)?.[1] ?? NaN);
  if (!(number <= 0xffff)) throw new RangeError(`Unknown record type ${JSON.stringify(type)}`);
  return number;
}

export function typeName(number: number): string {
  return typeNames.get(number) ?? `TYPE${number}`;
}

interface Token {
  readonly bytes: Uint8Array;
  readonly text: string;
}

/** A value longer than this is no RDATA (65,535 bytes, each at most 4 characters, and quotes). */
const maxValueLength = 400_000;

/** Splits presentation text at spaces outside quotes, undoing quotes and escapes. */
function tokenise(value: string): Token[] {
  if (value.length > maxValueLength) throw new RangeError('A record value is too long');
  const tokens: Token[] = [];
  const pattern = /\s*(?:"((?:\\\d{3}|\\[^]|[^"\\])*)"|((?:\\\d{3}|\\[^]|[^\s"\\])+))/gy;
  let end = 0;
  for (let match = pattern.exec(value); match !== null; match = pattern.exec(value)) {
    end = pattern.lastIndex;
    const raw = match[1] ?? match[2] ?? '';
    tokens.push({ bytes: unescape(raw), text: raw });
  }
  if (value.slice(end).trim() !== '') {
    throw new RangeError(`The record value ${JSON.stringify(value)} has an unfinished quote or escape`);
  }
  return tokens;
}

function unescape(raw: string): Uint8Array {
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

/**
 * One spelling for every value that means the same. TXT strings are joined and split anew; host names are
 * lower-case and end with a dot; unknown types only lose surplus spaces.
 * @throws RangeError when the value does not fit its type
 */
export function canonicalValue(type: string, value: string): string {
  if (type === 'TXT' || type === 'SPF') {
    const bytes = Buffer.concat(tokenise(value).map((token) => token.bytes));
    // Text that is not UTF-8 can't go through txtValue unharmed; its bytes are kept as they are.
    const text = bytes.toString('utf8');
    if (Buffer.from(text, 'utf8').equals(bytes)) return txtValue(text);
    return decodeTxt(encodeTxt([bytes]));
  }
  if (!(type in codecs)) return value.trim().replace(/\s+/g, ' ');
  const bytes = encodeRdata(type, value);
  return decodeRdata(typeNumber(type), bytes, 0, bytes.length);
}

/** The values of a set: canonical, each once, sorted. */
export function canonicalValues(type: string, values: readonly string[]): readonly string[] {
  return [...new Set(values.map((value) => canonicalValue(type, value)))].sort();
}

interface Codec {
  encode(value: string, type: string): Uint8Array;
  decode(message: Uint8Array, start: number, end: number): string;
}

/**
 * @param value presentation form; host names in it are taken as absolute
 * @throws RangeError when the value does not fit its type
 */
export function encodeRdata(type: string, value: string): Uint8Array {
  const generic = /^\\#\s+(\d{1,5})((?:\s+[0-9a-f]+)*)\s*$/i.exec(value);
  if (generic !== null) {
    const bytes = Buffer.from((generic[2] ?? '').replace(/\s/g, ''), 'hex');
    if (bytes.length !== Number(generic[1]))
      throw new RangeError(`${value} does not have the length it says`);
    return bytes;
  }
  const codec = codecs[type];
  if (codec === undefined) throw new RangeError(`A ${type} record can only be given as \\# bytes`);
  return codec.encode(value, type);
}

/**
 * @param message the whole DNS message, since names in RDATA may point anywhere before them
 * @throws ProtocolError
 */
export function decodeRdata(type: number, message: Uint8Array, start: number, length: number): string {
  const end = start + length;
  if (end > message.length) throw new ProtocolError('A DNS record ends too early');
  const codec = codecs[typeName(type)];
  if (codec === undefined) {
    return `\\# ${length} ${Buffer.from(message.subarray(start, end)).toString('hex')}`.trimEnd();
  }
  return codec.decode(message, start, end);
}

function fields(type: string, value: string, count: number): Token[] {
  const tokens = tokenise(value);
  if (tokens.length !== count) {
    throw new RangeError(`${JSON.stringify(value)} is not a ${type} value: it should have ${count} parts`);
  }
  return tokens;
}

function number(token: Token | undefined, bytes: 1 | 2 | 4): number[] {
  const value = /^\d{1,10}$/.test(token?.text ?? '') ? Number(token?.text) : NaN;
  if (!(value < 256 ** bytes)) throw new RangeError(`${token?.text} is not a number below 256^${bytes}`);
  return Array.from({ length: bytes }, (_, index) => Math.floor(value / 256 ** (bytes - 1 - index)) % 256);
}

/** A name as the last part of RDATA, which must fill it. */
function lastName(message: Uint8Array, start: number, end: number): string {
  const { name, end: stop } = decodeName(message.subarray(0, end), start);
  if (stop !== end) throw new ProtocolError('A DNS record holds more than its name');
  return `${name}.`;
}

function need(start: number, end: number, bytes: number): void {
  if (end - start < bytes) throw new ProtocolError('A DNS record is too short for its type');
}

const uint16 = (bytes: Uint8Array, at: number) => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);

const host: Codec = {
  encode: (value, type) => encodeName(fields(type, value, 1)[0]?.text ?? ''),
  decode: lastName,
};

function decodeTxt(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = bytes[at] ?? 0;
    if (at + 1 + length > bytes.length) throw new ProtocolError('A DNS text string ends too early');
    parts.push(`"${escapeTxt(bytes.subarray(at + 1, at + 1 + length))}"`);
    at += 1 + length;
  }
  return parts.join(' ');
}

function encodeTxt(strings: readonly Uint8Array[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const bytes of strings) {
    for (let at = 0; at === 0 || at < bytes.length; at += 255) {
      const part = bytes.subarray(at, at + 255);
      parts.push(Uint8Array.of(part.length), part);
    }
  }
  return Buffer.concat(parts);
}

const txt: Codec = {
  encode: (value) => encodeTxt(tokenise(value).map((token) => token.bytes)),
  decode: (message, start, end) => decodeTxt(message.subarray(start, end)),
};

function ipv6Bytes(address: string): Uint8Array {
  const url = URL.parse(`http://[${address}]/`)?.hostname.slice(1, -1) ?? '';
  const [head = '', tail] = url.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const zeros = tail === undefined ? 0 : 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array.from({ length: zeros }, () => '0'), ...groups(tail ?? '')];
  return Uint8Array.from(all.flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 0xff]));
}

const codecs: Readonly<Record<string, Codec>> = {
  A: {
    encode(value) {
      if (!isIPv4(value.trim())) throw new RangeError(`${JSON.stringify(value)} is not an IPv4 address`);
      return Uint8Array.from(value.trim().split('.').map(Number));
    },
    decode(message, start, end) {
      if (end - start !== 4) throw new ProtocolError('An A record is not 4 bytes long');
      return message.subarray(start, end).join('.');
    },
  },
  AAAA: {
    encode(value) {
      if (!isIPv6(value.trim()) || value.includes('%')) {
        throw new RangeError(`${JSON.stringify(value)} is not an IPv6 address`);
      }
      return ipv6Bytes(value.trim());
    },
    decode(message, start, end) {
      if (end - start !== 16) throw new ProtocolError('An AAAA record is not 16 bytes long');
      const hex = Buffer.from(message.subarray(start, end)).toString('hex');
      const address = (hex.match(/.{4}/g) ?? []).join(':');
      return new SocketAddress({ address, family: 'ipv6' }).address;
    },
  },
  NS: host,
  CNAME: host,
  PTR: host,
  DNAME: host,
  MX: {
    encode(value) {
      const [preference, exchange] = fields('MX', value, 2);
      return Uint8Array.from([...number(preference, 2), ...encodeName(exchange?.text ?? '')]);
    },
    decode(message, start, end) {
      need(start, end, 3);
      return `${uint16(message, start)} ${lastName(message, start + 2, end)}`;
    },
  },
  SRV: {
    encode(value) {
      const [priority, weight, port, target] = fields('SRV', value, 4);
      const numbers = [priority, weight, port].flatMap((token) => number(token, 2));
      return Uint8Array.from([...numbers, ...encodeName(target?.text ?? '')]);
    },
    decode(message, start, end) {
      need(start, end, 7);
      const numbers = [0, 2, 4].map((at) => uint16(message, start + at));
      return `${numbers.join(' ')} ${lastName(message, start + 6, end)}`;
    },
  },
  TXT: txt,
  SPF: txt,
  CAA: {
    // RFC 8659 §4.1: flags, tag length, tag, value.
    encode(value) {
      const [flags, tag, content] = fields('CAA', value, 3);
      const tagBytes = Buffer.from((tag?.text ?? '').toLowerCase());
      if (!/^[a-z0-9]{1,15}$/.test(tagBytes.toString())) {
        throw new RangeError(`${JSON.stringify(tag?.text)} is not a CAA tag`);
      }
      return Buffer.concat([
        Uint8Array.from([...number(flags, 1), tagBytes.length]),
        tagBytes,
        content?.bytes ?? new Uint8Array(),
      ]);
    },
    decode(message, start, end) {
      need(start, end, 3);
      const tagEnd = start + 2 + (message[start + 1] ?? 0);
      if (tagEnd > end) throw new ProtocolError('A CAA record ends too early');
      const tag = Buffer.from(message.subarray(start + 2, tagEnd))
        .toString('latin1')
        .toLowerCase();
      return `${message[start] ?? 0} ${tag} "${escapeTxt(message.subarray(tagEnd, end))}"`;
    },
  },
  TLSA: {
    encode(value) {
      const [usage, selector, matching, ...digest] = tokenise(value);
      const hex = digest.map((token) => token.text).join('');
      if (!/^(?:[0-9a-f]{2})+$/i.test(hex))
        throw new RangeError(`${JSON.stringify(value)} is not a TLSA value`);
      return Uint8Array.from([
        ...[usage, selector, matching].flatMap((token) => number(token, 1)),
        ...Buffer.from(hex, 'hex'),
      ]);
    },
    decode(message, start, end) {
      need(start, end, 4);
      const digest = Buffer.from(message.subarray(start + 3, end)).toString('hex');
      return `${message.subarray(start, start + 3).join(' ')} ${digest}`;
    },
  },
  SOA: {
    encode(value) {
      const [primary, mailbox, ...numbers] = fields('SOA', value, 7);
      return Uint8Array.from([
        ...encodeName(primary?.text ?? ''),
        ...encodeName(mailbox?.text ?? ''),
        ...numbers.flatMap((token) => number(token, 4)),
      ]);
    },
    decode(message, start, end) {
      const bytes = message.subarray(0, end);
      const primary = decodeName(bytes, start);
      const mailbox = decodeName(bytes, primary.end);
      if (end - mailbox.end !== 20) throw new ProtocolError('A SOA record has the wrong length');
      const view = new DataView(message.buffer, message.byteOffset + mailbox.end, 20);
      const numbers = [0, 4, 8, 12, 16].map((at) => view.getUint32(at));
      return `${primary.name}. ${mailbox.name}. ${numbers.join(' ')}`;
    },
  },
};
