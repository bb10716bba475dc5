/**
 * TSIG transaction signatures (RFC 8945) over one request and its one reply: what dynamic updates need.
 * Leaves out signing of message sequences (zone transfers) and truncated MACs.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { IntegrityError, ProtocolError } from '../base/errors.ts';
import { classes, decodeMessageWithOffsets, maxMessageBytes } from './message.ts';
import { decodeName, encodeName } from './name.ts';
import { typeNumber } from './rdata.ts';

/** RFC 8945 §6. HMAC-MD5 is left out on purpose. */
export const tsigAlgorithms = {
  'hmac-sha1': 'sha1',
  'hmac-sha224': 'sha224',
  'hmac-sha256': 'sha256',
  'hmac-sha384': 'sha384',
  'hmac-sha512': 'sha512',
} as const;
export type TsigAlgorithm = keyof typeof tsigAlgorithms;

export interface TsigKey {
  readonly name: string;
  readonly algorithm: TsigAlgorithm;
  readonly secret: Uint8Array;
}

/** RFC 8945 §10: how far two clocks may be apart. */
const fudgeSec = 300;

/** IANA "DNS RCODEs", those of TSIG. */
const tsigErrors: Readonly<Record<number, string>> = {
  16: 'BADSIG',
  17: 'BADKEY',
  18: 'BADTIME',
  22: 'BADTRUNC',
};

/**
 * Signs an encoded message.
 * @returns the message with its TSIG record, and the MAC that the reply's signature covers
 */
export function signMessage(
  bytes: Uint8Array,
  key: TsigKey,
  now: Date,
): { signed: Uint8Array; mac: Uint8Array } {
  const time = timeBytes(Math.floor(now.getTime() / 1000));
  const variables = tsigVariables(key, { time, fudgeSec, error: 0, other: new Uint8Array() });
  const mac = hmac(key, [bytes, variables]);
  const rdata = Buffer.concat([
    encodeName(key.algorithm),
    time,
    uint16(fudgeSec),
    uint16(mac.length),
    mac,
    bytes.subarray(0, 2), // original id
    uint16(0), // error
    uint16(0), // other length
  ]);
  const record = Buffer.concat([
    encodeName(key.name),
    uint16(typeNumber('TSIG')),
    uint16(classes.any),
    uint16(0),
    uint16(0), // TTL 0
    uint16(rdata.length),
    rdata,
  ]);
  const signed = Buffer.concat([bytes, record]);
  if (signed.length > maxMessageBytes) throw new RangeError('The signed DNS message is too long');
  signed.writeUInt16BE(signed.readUInt16BE(10) + 1, 10);
  return { signed, mac };
}

/**
 * Checks the signature of a reply to a signed request.
 * @throws IntegrityError when it is missing or wrong, or the server says that ours was
 * @throws ProtocolError when the record is malformed
 */
export function verifyReply(reply: Uint8Array, requestMac: Uint8Array, key: TsigKey, now: Date): void {
  const { message, lastRecordOffset } = decodeMessageWithOffsets(reply);
  const last = message.additionals.at(-1);
  const refuse = (found: string, text: string) =>
    new IntegrityError({ subject: 'The reply to a signed update', expected: 'a TSIG', found, message: text });
  if (last?.type !== 'TSIG') {
    throw refuse('none', 'The name server did not sign its reply to a signed update');
  }
  const tsig = decodeTsig(Buffer.from(last.value.split(' ')[2] ?? '', 'hex'));
  // A forwarder between us and the primary may change the id; we talk to the primary itself.
  if (last.class !== classes.any || last.ttlSec !== 0 || tsig.originalId !== message.id) {
    throw refuse('another header', "The signature of the name server's reply is wrong");
  }
  const error = tsigErrors[tsig.error];
  if (error !== undefined) throw refuse(error, tsigErrorText(error, key));
  if (last.name !== key.name || tsig.algorithm !== key.algorithm) {
    throw refuse(`${last.name} ${tsig.algorithm}`, 'The name server signed its reply with another key');
  }
  // The MAC covers the message as it was before the TSIG record was added.
  const unsigned = Buffer.from(reply.subarray(0, lastRecordOffset));
  unsigned.writeUInt16BE(unsigned.readUInt16BE(10) - 1, 10);
  const variables = tsigVariables(key, { ...tsig, time: timeBytes(tsig.timeSec) });
  const expected = hmac(key, [uint16(requestMac.length), requestMac, unsigned, variables]);
  if (expected.length !== tsig.mac.length || !timingSafeEqual(expected, tsig.mac)) {
    throw refuse('another MAC', "The signature of the name server's reply is wrong");
  }
  if (Math.abs(tsig.timeSec - now.getTime() / 1000) > fudgeSec) {
    throw refuse('BADTIME', tsigErrorText('BADTIME', key));
  }
}

function tsigErrorText(error: string, key: TsigKey): string {
  switch (error) {
    case 'BADKEY':
      return `The name server knows no TSIG key ${key.name} with ${key.algorithm}`;
    case 'BADSIG':
      return `The name server has another secret for the TSIG key ${key.name}`;
    case 'BADTIME':
      return 'The clocks of this machine and of the name server differ by more than five minutes';
    default:
      return `The name server refused the signature: ${error}`;
  }
}

function decodeTsig(rdata: Buffer) {
  const { name: algorithm, end } = decodeName(rdata, 0);
  const macLength = rdata.length >= end + 10 ? rdata.readUInt16BE(end + 8) : Number.POSITIVE_INFINITY;
  const after = end + 10 + macLength;
  if (rdata.length < after + 6) throw new ProtocolError('A TSIG record ends too early');
  if (rdata.length !== after + 6 + rdata.readUInt16BE(after + 4)) {
    throw new ProtocolError('A TSIG record does not have the length it says');
  }
  return {
    algorithm,
    timeSec: rdata.readUIntBE(end, 6),
    fudgeSec: rdata.readUInt16BE(end + 6),
    mac: rdata.subarray(end + 10, after),
    originalId: rdata.readUInt16BE(after),
    error: rdata.readUInt16BE(after + 2),
    other: rdata.subarray(after + 6),
  };
}

/** RFC 8945 §4.3.3. */
function tsigVariables(
  key: TsigKey,
  fields: { time: Uint8Array; fudgeSec: number; error: number; other: Uint8Array },
): Uint8Array {
  return Buffer.concat([
    encodeName(key.name),
    uint16(classes.any),
    uint16(0),
    uint16(0), // TTL 0
    encodeName(key.algorithm),
    fields.time,
    uint16(fields.fudgeSec),
    uint16(fields.error),
    uint16(fields.other.length),
    fields.other,
  ]);
}

function hmac(key: TsigKey, parts: readonly Uint8Array[]): Uint8Array {
  const sum = createHmac(tsigAlgorithms[key.algorithm], key.secret);
  for (const part of parts) sum.update(part);
  return sum.digest();
}

function timeBytes(seconds: number): Uint8Array {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(seconds, 0, 6);
  return bytes;
}

function uint16(value: number): Uint8Array {
  return Uint8Array.of((value >>> 8) & 0xff, value & 0xff);
}
