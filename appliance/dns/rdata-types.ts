/** How the RDATA of each known type is written and read. */
import { isIPv4, isIPv6, SocketAddress } from 'node:net';
import { ProtocolError } from '../base/errors.ts';
import { escapeTxt } from '../contract/dns-records.ts';
import { decodeName, encodeName } from './name.ts';
import { type Token, tokenise } from './presentation.ts';

export interface RdataCodec {
  /** @throws RangeError when the text does not fit the type */
  encode(value: string, type: string): Uint8Array;
  /** @throws ProtocolError */
  decode(message: Uint8Array, start: number, end: number): string;
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

const host: RdataCodec = {
  encode: (value, type) => encodeName(fields(type, value, 1)[0]?.text ?? ''),
  decode: lastName,
};

export function decodeTxt(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = bytes[at] ?? 0;
    if (at + 1 + length > bytes.length) throw new ProtocolError('A DNS text string ends too early');
    parts.push(`"${escapeTxt(bytes.subarray(at + 1, at + 1 + length))}"`);
    at += 1 + length;
  }
  return parts.join(' ');
}

export function encodeTxt(strings: readonly Uint8Array[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const bytes of strings) {
    for (let at = 0; at === 0 || at < bytes.length; at += 255) {
      const part = bytes.subarray(at, at + 255);
      parts.push(Uint8Array.of(part.length), part);
    }
  }
  return Buffer.concat(parts);
}

const txt: RdataCodec = {
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

export const rdataCodecs: Readonly<Record<string, RdataCodec>> = {
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
