/**
 * Decoder of one 512-byte tar header (v7, ustar and GNU), and of pax extended header records.
 * Source: POSIX.1-2017 pax (ustar and pax formats), GNU tar manual "Basic Tar Format", tar(5).
 */
import { ProtocolError } from '../../appliance/base/errors.ts';

export const tarBlockBytes = 512;

/*
 *   offset size field
 *        0  100 name
 *      100    8 mode
 *      108    8 uid
 *      116    8 gid
 *      124   12 size of the data in bytes
 *      136   12 mtime, seconds since 1970
 *      148    8 checksum: sum of all bytes, this field taken as spaces
 *      156    1 typeflag
 *      157  100 linkname
 *      257    6 magic "ustar\0" (POSIX) or "ustar " (GNU)
 *      263    2 version "00" (POSIX) or " \0" (GNU)
 *      265   32 uname
 *      297   32 gname
 *      329    8 devmajor
 *      337    8 devminor
 *      345  155 prefix (POSIX only: GNU keeps other things here)
 *
 * Numbers are octal digits in ASCII, or GNU base-256: first byte 0x80 (positive) or 0xff (negative), the
 * rest big-endian two's complement.
 */
export interface TarHeader {
  readonly name: Uint8Array;
  readonly linkName: Uint8Array;
  /** One ASCII character; NUL of the v7 format is given as '0'. */
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly mtimeSec: number;
  readonly major: number;
  readonly minor: number;
}

/**
 * Decodes a header block; null for a block of zeros, which ends an archive.
 * @throws ProtocolError, with a message to put behind the name of the archive
 */
export function decodeTarHeader(block: Uint8Array): TarHeader | null {
  if (block.length !== tarBlockBytes) throw new RangeError(`A tar header has 512 bytes, not ${block.length}`);
  if (block.every((byte) => byte === 0)) return null;
  assertChecksum(block);
  const isPosix = ascii(block, 257, 263) === 'ustar\0';
  const hasDevice = isPosix || ascii(block, 257, 263) === 'ustar ';
  const prefix = isPosix ? untilNul(block, 345, 500) : new Uint8Array(0);
  const name = untilNul(block, 0, 100);
  return {
    name: prefix.length > 0 ? Buffer.concat([prefix, Buffer.from('/'), name]) : name,
    linkName: untilNul(block, 157, 257),
    type: block[156] === 0 ? '0' : ascii(block, 156, 157),
    mode: decodeNumber(block, 100, 108, 'mode'),
    uid: decodeNumber(block, 108, 116, 'uid'),
    gid: decodeNumber(block, 116, 124, 'gid'),
    sizeBytes: decodeNumber(block, 124, 136, 'size'),
    mtimeSec: decodeNumber(block, 136, 148, 'mtime'),
    major: hasDevice ? decodeNumber(block, 329, 337, 'devmajor') : 0,
    minor: hasDevice ? decodeNumber(block, 337, 345, 'devminor') : 0,
  };
}

/**
 * Decodes the records "length key=value\n" of a pax extended header. A key given twice keeps its last value.
 * @throws ProtocolError, with a message to put behind the name of the archive
 */
export function decodePaxRecords(bytes: Uint8Array): ReadonlyMap<string, string> {
  const records = new Map<string, string>();
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let at = 0;
  while (at < bytes.length) {
    // The length counts the whole record; nine digits are far beyond what a header may hold.
    const digits = /^([1-9][0-9]{0,8}) /.exec(ascii(bytes, at, Math.min(at + 10, bytes.length)))?.[1];
    const end = at + Number(digits);
    const start = at + (digits?.length ?? 0) + 1;
    const equals = digits === undefined ? -1 : bytes.indexOf(0x3d, start);
    if (
      digits === undefined ||
      end > bytes.length ||
      bytes[end - 1] !== 0x0a ||
      equals < 0 ||
      equals >= end
    ) {
      throw new ProtocolError(`broken pax record at ${at} of the extended header`);
    }
    const key = ascii(bytes, start, equals);
    // Values of attributes may be any bytes; nobody reads those.
    if (!key.startsWith('SCHILY.') && !key.startsWith('LIBARCHIVE.')) {
      records.set(key, decodeText(decoder, bytes.subarray(equals + 1, end - 1), key));
    }
    at = end;
  }
  return records;
}

function decodeText(decoder: InstanceType<typeof TextDecoder>, bytes: Uint8Array, key: string): string {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw new ProtocolError(`pax record ${JSON.stringify(key)} is not UTF-8`, { cause: error });
  }
}

function assertChecksum(block: Uint8Array): void {
  const declared = decodeNumber(block, 148, 156, 'checksum');
  let sum = 8 * 0x20;
  for (let index = 0; index < tarBlockBytes; index++) {
    if (index < 148 || index >= 156) sum += block[index] ?? 0;
  }
  if (sum !== declared) throw new ProtocolError(`header checksum is ${declared}, the header sums to ${sum}`);
}

function decodeNumber(block: Uint8Array, start: number, end: number, field: string): number {
  const first = block[start] ?? 0;
  if (first === 0x80 || first === 0xff) {
    let value = first === 0xff ? -1n : 0n;
    for (const byte of block.subarray(start + 1, end)) value = value * 256n + BigInt(byte);
    if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < -BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new ProtocolError(`field ${field} is ${value}, beyond what can be counted`);
    }
    return Number(value);
  }
  const text = ascii(block, start, end)
    .replace(/[\0 ]+$/, '')
    .trimStart();
  if (!/^[0-7]*$/.test(text)) throw new ProtocolError(`field ${field} is ${JSON.stringify(text)}, not octal`);
  return text === '' ? 0 : Number.parseInt(text, 8);
}

function untilNul(block: Uint8Array, start: number, end: number): Uint8Array {
  const field = block.subarray(start, end);
  const nul = field.indexOf(0);
  return nul < 0 ? field : field.subarray(0, nul);
}

function ascii(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
}
