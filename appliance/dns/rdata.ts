/**
 * RDATA as text and on the wire, for the types a relay meets; every other type is carried as RFC 3597 bytes
 * (`\# 3 0a0b0c`). Values are compared in their canonical text, so case, spaces, the way a TXT is split and
 * the spelling of an address do not matter.
 */
import { ProtocolError } from '../base/errors.ts';
import { txtValue } from '../contract/dns-records.ts';
import { tokenise } from './presentation.ts';
import { decodeTxt, encodeTxt, rdataCodecs } from './rdata-types.ts';

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
  if (!Object.hasOwn(rdataCodecs, type)) return value.trim().replace(/\s+/g, ' ');
  const bytes = encodeRdata(type, value);
  return decodeRdata(typeNumber(type), bytes, 0, bytes.length);
}

/** The values of a set: canonical, each once, sorted. */
export function canonicalValues(type: string, values: readonly string[]): readonly string[] {
  return [...new Set(values.map((value) => canonicalValue(type, value)))].sort();
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
  const codec = Object.hasOwn(rdataCodecs, type) ? rdataCodecs[type] : undefined;
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
  const codec = rdataCodecs[typeName(type)];
  if (codec === undefined) {
    return `\\# ${length} ${Buffer.from(message.subarray(start, end)).toString('hex')}`.trimEnd();
  }
  return codec.decode(message, start, end);
}
