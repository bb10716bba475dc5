/**
 * As much of DER (X.690 §10) as certificates need: definite lengths, tags of one byte. Not a general
 * ASN.1 library; the reader is for certificates that OpenSSL has parsed before.
 */
import { ProtocolError } from '../base/errors.ts';

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Context-specific tag `number` (X.690 §8.1.2). */
export const contextTag = (number: number, constructed: boolean): number =>
  0x80 | (constructed ? 0x20 : 0) | number;

export interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
}

/** One element: tag, length, and its content's parts one after another. */
export function encodeElement(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const lengthBytes: number[] = [];
  if (length < 0x80) lengthBytes.push(length);
  else {
    for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) lengthBytes.unshift(rest % 256);
    lengthBytes.unshift(0x80 | lengthBytes.length);
  }
  return Buffer.concat([Uint8Array.of(tag, ...lengthBytes), ...parts]);
}

/** An object identifier in dotted form (X.690 §8.19). */
export function encodeObjectIdentifier(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const groups = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      groups.unshift(0x80 | (left % 128));
    }
    return groups;
  });
  return encodeElement(tags.objectIdentifier, Uint8Array.from(bytes));
}

/**
 * The elements that stand one after another in `bytes`. Views, not copies: nothing is allocated for a length
 * that a stranger wrote.
 * @throws ProtocolError when one does not end where it says
 */
export function decodeElements(bytes: Uint8Array): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = bytes[at] ?? 0;
    const first = bytes[at + 1];
    const lengthOfLength = first !== undefined && first >= 0x80 ? first & 0x7f : 0;
    const start = at + 2 + lengthOfLength;
    // Three bytes of length are 16 MiB, more than any certificate.
    if (first === undefined || (tag & 0x1f) === 0x1f || lengthOfLength > 3 || start > bytes.length) {
      throw new ProtocolError(`No DER element at byte ${at}`);
    }
    if (first === 0x80) throw new ProtocolError(`DER element of no definite length at byte ${at}`);
    let length = first;
    if (lengthOfLength > 0) {
      length = bytes.subarray(at + 2, start).reduce((sum, byte) => sum * 256 + byte, 0);
    }
    if (start + length > bytes.length) throw new ProtocolError(`DER element at byte ${at} ends too early`);
    elements.push({ tag, content: bytes.subarray(start, start + length) });
    at = start + length;
  }
  return elements;
}
