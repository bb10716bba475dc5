/**
 * Domain names on the wire and as text (RFC 1035 §3.1, §4.1.4, §5.1). As text a name is lower-case, without
 * the final dot, the root is the empty string, and bytes that text can't carry are `\DDD`.
 */
import { ProtocolError } from '../base/errors.ts';

/** RFC 1035 §2.3.4: bytes of a name on the wire, lengths and root included. */
const maxNameBytes = 255;
const maxLabelBytes = 63;

/**
 * Text as the one form names have here.
 * @throws RangeError when a label or the name is too long or empty
 */
export function normaliseName(text: string): string {
  return decodeName(encodeName(text), 0).name;
}

/**
 * Encodes without compression. A final dot is allowed; `\.` and `\DDD` are understood.
 * @throws RangeError when a label or the name is too long or empty
 */
export function encodeName(text: string): Uint8Array {
  if (text === '.') return Uint8Array.of(0);
  const labels: number[][] = [[]];
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    const current = labels.at(-1) ?? [];
    if (character === '.') {
      labels.push([]);
    } else if (character === '\\') {
      const digits = /^\d{3}/.exec(text.slice(at + 1))?.[0];
      const byte = digits === undefined ? text.charCodeAt(at + 1) : Number(digits);
      if (!(byte <= 0xff)) throw new RangeError(`The name ${JSON.stringify(text)} has a broken escape`);
      current.push(lowerCase(byte));
      at += digits === undefined ? 1 : 3;
    } else {
      const byte = character.charCodeAt(0);
      if (byte > 0x7e || byte <= 0x20) {
        throw new RangeError(`The name ${JSON.stringify(text)} has a character that is not ASCII`);
      }
      current.push(lowerCase(byte));
    }
  }
  if (labels.at(-1)?.length === 0) labels.pop();
  const bytes: number[] = [];
  for (const label of labels) {
    if (label.length === 0) throw new RangeError(`The name ${JSON.stringify(text)} has an empty label`);
    if (label.length > maxLabelBytes) {
      throw new RangeError(`The name ${JSON.stringify(text)} has a label longer than ${maxLabelBytes} bytes`);
    }
    bytes.push(label.length, ...label);
  }
  bytes.push(0);
  if (bytes.length > maxNameBytes) {
    throw new RangeError(`The name ${JSON.stringify(text)} is longer than ${maxNameBytes} bytes`);
  }
  return Uint8Array.from(bytes);
}

/**
 * Reads a name, following compression pointers. A pointer must lead to a place before the one it was
 * reached from, so that no message can make this loop.
 * @returns the name and the offset of what follows it
 * @throws ProtocolError
 */
export function decodeName(bytes: Uint8Array, offset: number): { name: string; end: number } {
  const labels: string[] = [];
  let at = offset;
  let end: number | undefined;
  let limit = offset;
  let nameBytes = 1;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) throw new ProtocolError('A DNS name ends too early');
    if (length === 0) return { name: labels.join('.'), end: end ?? at + 1 };
    if (length >= 0xc0) {
      const low = bytes[at + 1];
      if (low === undefined) throw new ProtocolError('A DNS name ends too early');
      const target = ((length & 0x3f) << 8) | low;
      if (target >= limit) throw new ProtocolError('A DNS name points forward');
      end ??= at + 2;
      limit = target;
      at = target;
      continue;
    }
    if (length > maxLabelBytes) throw new ProtocolError(`A DNS name has an unknown label type ${length}`);
    nameBytes += length + 1;
    if (nameBytes > maxNameBytes) throw new ProtocolError(`A DNS name is longer than ${maxNameBytes} bytes`);
    if (at + 1 + length > bytes.length) throw new ProtocolError('A DNS name ends too early');
    labels.push(labelText(bytes.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
}

function labelText(label: Uint8Array): string {
  let text = '';
  for (const byte of label) {
    const character = String.fromCharCode(lowerCase(byte));
    if (byte <= 0x20 || byte > 0x7e) text += `\\${String(byte).padStart(3, '0')}`;
    else if ('."\\;()@$'.includes(character)) text += `\\${character}`;
    else text += character;
  }
  return text;
}

/** RFC 4343: ASCII letters only. */
function lowerCase(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

/** True when `name` is `zone` or below it. */
export function isWithin(name: string, zone: string): boolean {
  return zone === '' || name === zone || name.endsWith(`.${zone}`);
}

/** `name` and each of its parents that has a dot: a.b.example.org, b.example.org, example.org. */
export function withParents(name: string): readonly string[] {
  const labels = name.split('.');
  return labels.slice(0, -1).map((_, index) => labels.slice(index).join('.'));
}

/** The part of `name` before `zone`: '' for the zone's own name. */
export function relativeName(name: string, zone: string): string {
  if (name === zone) return '';
  if (!isWithin(name, zone)) throw new RangeError(`${name} is not in the zone ${zone}`);
  return name.slice(0, -zone.length - 1);
}

/** The inverse of relativeName; '' and '@' are the zone itself. */
export function absoluteName(relative: string, zone: string): string {
  return relative === '' || relative === '@' ? zone : `${relative}.${zone}`;
}
