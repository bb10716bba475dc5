/**
 * DNS messages (RFC 1035 §4.1, RFC 2136 §2, RFC 6891 §6.1): what a stub, a checker and an updater need.
 * Encoding never compresses; decoding takes what any server sends.
 *
 *   0   2 id           2   2 flags: QR, opcode(4), AA, TC, RD, RA, Z, AD, CD, rcode(4)
 *   4   2 questions    6   2 answers    8   2 authorities    10  2 additionals
 */
import { ProtocolError } from '../base/errors.ts';
import { decodeName, encodeName } from './name.ts';
import { decodeRdata, encodeRdata, typeName, typeNumber } from './rdata.ts';

export const headerBytes = 12;
/** RFC 1035 §4.2.2: the length before a message over TCP has two bytes. */
export const maxMessageBytes = 65_535;

export const opcodes = { query: 0, update: 5 } as const;
export const classes = { in: 1, chaos: 3, none: 254, any: 255 } as const;
export const rcodes = { noError: 0, servFail: 2, nxDomain: 3, refused: 5 } as const;
/** IANA "DNS RCODEs". */
export const rcodeNames: Readonly<Record<number, string>> = {
  0: 'NOERROR',
  1: 'FORMERR',
  2: 'SERVFAIL',
  3: 'NXDOMAIN',
  4: 'NOTIMP',
  5: 'REFUSED',
  6: 'YXDOMAIN',
  7: 'YXRRSET',
  8: 'NXRRSET',
  9: 'NOTAUTH',
  10: 'NOTZONE',
};

export interface Question {
  readonly name: string;
  readonly type: string;
  readonly class: number;
}

export interface ResourceRecord {
  readonly name: string;
  readonly type: string;
  readonly class: number;
  readonly ttlSec: number;
  /** RDATA in presentation form; empty for the empty RDATA of an update. */
  readonly value: string;
}

export interface Message {
  readonly id: number;
  readonly response: boolean;
  readonly opcode: number;
  readonly authoritative: boolean;
  readonly truncated: boolean;
  readonly recursionDesired: boolean;
  readonly recursionAvailable: boolean;
  readonly authenticData: boolean;
  readonly checkingDisabled: boolean;
  readonly rcode: number;
  /** For an update: the zone section. */
  readonly questions: readonly Question[];
  /** For an update: the prerequisites. */
  readonly answers: readonly ResourceRecord[];
  /** For an update: what to add and delete. */
  readonly authorities: readonly ResourceRecord[];
  readonly additionals: readonly ResourceRecord[];
}

const flagBits = {
  response: 0x8000,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionDesired: 0x0100,
  recursionAvailable: 0x0080,
  authenticData: 0x0020,
  checkingDisabled: 0x0010,
} as const;
const flagNames = Object.keys(flagBits) as (keyof typeof flagBits)[];

/** A message with nothing in it; spread it and fill in the rest. */
export const emptyMessage: Message = {
  id: 0,
  response: false,
  opcode: opcodes.query,
  authoritative: false,
  truncated: false,
  recursionDesired: false,
  recursionAvailable: false,
  authenticData: false,
  checkingDisabled: false,
  rcode: 0,
  questions: [],
  answers: [],
  authorities: [],
  additionals: [],
};

/** EDNS(0) with no options. 1232 bytes pass every path without fragments (DNS flag day 2020). */
export function ednsRecord(): ResourceRecord {
  return { name: '', type: 'OPT', class: 1232, ttlSec: 0, value: '\\# 0' };
}

/** @throws RangeError when it does not fit or a value does not fit its type */
export function encodeMessage(message: Message): Uint8Array {
  let flags = (message.opcode << 11) | message.rcode;
  for (const name of flagNames) if (message[name]) flags |= flagBits[name];
  const sections = [message.answers, message.authorities, message.additionals];
  const counts = [message.questions.length, ...sections.map((section) => section.length)];
  const parts: Uint8Array[] = [Uint8Array.from([message.id, flags, ...counts].flatMap(uint16))];
  for (const question of message.questions) {
    parts.push(encodeName(question.name));
    parts.push(Uint8Array.from([...uint16(typeNumber(question.type)), ...uint16(question.class)]));
  }
  for (const record of sections.flat()) parts.push(encodeRecord(record));
  const bytes = Buffer.concat(parts);
  if (bytes.length > maxMessageBytes)
    throw new RangeError(`A DNS message of ${bytes.length} bytes is too long`);
  return bytes;
}

function encodeRecord(record: ResourceRecord): Uint8Array {
  const rdata = record.value === '' ? new Uint8Array() : encodeRdata(record.type, record.value);
  const ttl = [record.ttlSec >>> 16, record.ttlSec & 0xffff];
  const head = [typeNumber(record.type), record.class, ...ttl, rdata.length].flatMap(uint16);
  return Buffer.concat([encodeName(record.name), Uint8Array.from(head), rdata]);
}

function uint16(value: number): [number, number] {
  return [(value >>> 8) & 0xff, value & 0xff];
}

/** @throws ProtocolError when the bytes are not one whole message */
export function decodeMessage(bytes: Uint8Array): Message {
  return decodeMessageWithOffsets(bytes).message;
}

/**
 * decodeMessage, and where the last record starts: TSIG signs the message up to there.
 * @throws ProtocolError
 */
export function decodeMessageWithOffsets(bytes: Uint8Array): { message: Message; lastRecordOffset: number } {
  if (bytes.length < headerBytes) throw new ProtocolError('A DNS message is shorter than its header');
  if (bytes.length > maxMessageBytes) throw new ProtocolError('A DNS message is too long');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const flags = view.getUint16(2);
  let at: number = headerBytes;
  let lastRecordOffset = at;
  const fixed = (count: number) => {
    if (at + count > bytes.length) throw new ProtocolError('A DNS message ends too early');
    at += count;
    return at - count;
  };
  const name = () => {
    const read = decodeName(bytes, at);
    at = read.end;
    return read.name;
  };
  const question = (): Question => {
    const owner = name();
    const start = fixed(4);
    return { name: owner, type: typeName(view.getUint16(start)), class: view.getUint16(start + 2) };
  };
  const record = (): ResourceRecord => {
    lastRecordOffset = at;
    const owner = name();
    const start = fixed(10);
    const type = view.getUint16(start);
    const length = view.getUint16(start + 8);
    const rdata = fixed(length);
    return {
      name: owner,
      type: typeName(type),
      class: view.getUint16(start + 2),
      ttlSec: view.getUint32(start + 4),
      value: length === 0 ? '' : decodeRdata(type, bytes, rdata, length),
    };
  };
  // The counts need no limit of their own: each item takes at least 5 bytes of at most 65,535.
  const section = <T>(offset: number, read: () => T): T[] => {
    const items: T[] = [];
    for (let left = view.getUint16(offset); left > 0; left--) items.push(read());
    return items;
  };
  const decoded: Message = {
    id: view.getUint16(0),
    opcode: (flags >> 11) & 0xf,
    rcode: flags & 0xf,
    response: (flags & flagBits.response) !== 0,
    authoritative: (flags & flagBits.authoritative) !== 0,
    truncated: (flags & flagBits.truncated) !== 0,
    recursionDesired: (flags & flagBits.recursionDesired) !== 0,
    recursionAvailable: (flags & flagBits.recursionAvailable) !== 0,
    authenticData: (flags & flagBits.authenticData) !== 0,
    checkingDisabled: (flags & flagBits.checkingDisabled) !== 0,
    questions: section(4, question),
    answers: section(6, record),
    authorities: section(8, record),
    additionals: section(10, record),
  };
  if (at !== bytes.length) throw new ProtocolError('A DNS message has bytes after its end');
  return { message: decoded, lastRecordOffset };
}
