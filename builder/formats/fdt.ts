/**
 * Flattened device trees (Devicetree Specification 0.4, chapter 5; version 17 of the format), as kernel
 * packages bring them and firmware hands them to Linux. Properties stay bytes: what they mean is up to who
 * reads them. Memory reservations are not kept; the device trees of kernel packages have none that matter
 * here.
 */
import { ProtocolError } from '../../appliance/base/errors.ts';

export interface FdtNode {
  /** With its unit address: `mmc@7e202000`; empty for the root. */
  readonly name: string;
  readonly properties: ReadonlyMap<string, Uint8Array>;
  readonly children: readonly FdtNode[];
}

const magic = 0xd00dfeed;
const version = 17;
const lastCompatibleVersion = 16;
const headerBytes = 40;
/** One reservation of nothing, which ends their list. */
const reservationBytes = 16;
const token = { beginNode: 1, endNode: 2, property: 3, nop: 4, end: 9 } as const;

/** The largest of Debian's arm64 device trees has 270 kB. */
export const maxFdtBytes = 4 * 1024 * 1024;
/** Real ones are some ten levels deep. */
const maxDepth = 64;

/**
 * Reads a device tree.
 * @throws ProtocolError when it is malformed, or larger than `maxFdtBytes`
 */
export function decodeFdt(bytes: Uint8Array): FdtNode {
  if (bytes.length > maxFdtBytes) throw malformed(`it has more than ${maxFdtBytes} bytes`);
  const reader = new Reader(bytes);
  if (reader.u32At(0) !== magic) throw malformed('it does not begin with d00dfeed');
  if (reader.u32At(24) > version) throw malformed(`it needs version ${reader.u32At(24)} of the format`);
  if (reader.u32At(4) > bytes.length) throw malformed('it is cut off');
  reader.openBlocks();
  if (reader.nextToken() !== token.beginNode) throw malformed('it has no root');
  const root = reader.node(0);
  if (reader.nextToken() !== token.end) throw malformed('something follows its root');
  return root;
}

function malformed(why: string): ProtocolError {
  return new ProtocolError(`This is no device tree: ${why}`);
}

class Reader {
  readonly #bytes: Buffer;
  #position = 0;
  #end = 0;
  #strings: Buffer = Buffer.alloc(0);

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  u32At(offset: number): number {
    if (offset + 4 > this.#bytes.length) throw malformed('it is cut off');
    return this.#bytes.readUInt32BE(offset);
  }

  /** Goes to the structure block, and remembers the strings block. */
  openBlocks(): void {
    const [structOffset, structBytes] = [this.u32At(8), this.u32At(36)];
    const [stringsOffset, stringsBytes] = [this.u32At(12), this.u32At(32)];
    if (Math.max(structOffset + structBytes, stringsOffset + stringsBytes) > this.#bytes.length) {
      throw malformed('a block ends behind its end');
    }
    this.#position = structOffset;
    this.#end = structOffset + structBytes;
    this.#strings = this.#bytes.subarray(stringsOffset, stringsOffset + stringsBytes);
  }

  nextToken(): number {
    for (;;) {
      const found = this.#u32();
      if (found !== token.nop) return found;
    }
  }

  /** A node whose first token was read. */
  node(depth: number): FdtNode {
    if (depth > maxDepth) throw malformed(`it is more than ${maxDepth} levels deep`);
    const name = cString(this.#bytes.subarray(this.#position, this.#end));
    this.#skip(name.length + 1);
    const properties = new Map<string, Uint8Array>();
    const children: FdtNode[] = [];
    for (;;) {
      switch (this.nextToken()) {
        case token.property: {
          const lengthBytes = this.#u32();
          const property = cString(this.#strings.subarray(this.#u32()));
          const start = this.#position;
          this.#skip(lengthBytes);
          properties.set(property, Uint8Array.from(this.#bytes.subarray(start, start + lengthBytes)));
          break;
        }
        case token.beginNode:
          children.push(this.node(depth + 1));
          break;
        case token.endNode:
          return { name, properties, children };
        default:
          throw malformed('it has a token that there is none of');
      }
    }
  }

  #u32(): number {
    const start = this.#position;
    this.#skip(4);
    return this.#bytes.readUInt32BE(start);
  }

  /** Everything in the structure block begins at a multiple of four bytes. */
  #skip(lengthBytes: number): void {
    const next = align(this.#position + lengthBytes);
    if (next > this.#end) throw malformed('it is cut off');
    this.#position = next;
  }
}

function align(offset: number): number {
  return Math.ceil(offset / 4) * 4;
}

function cString(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  if (end < 0) throw malformed('a name has no end');
  return bytes.toString('latin1', 0, end);
}

/** Writes a device tree: the same for the same tree. */
export function encodeFdt(root: FdtNode): Uint8Array {
  const structure: Buffer[] = [];
  const strings: Buffer[] = [];
  const offsets = new Map<string, number>();
  let stringsBytes = 0;
  const u32 = (...values: number[]) => {
    const words = Buffer.alloc(4 * values.length);
    values.forEach((value, index) => words.writeUInt32BE(value, 4 * index));
    structure.push(words);
  };
  const padded = (bytes: Uint8Array) => structure.push(Buffer.concat([bytes], align(bytes.length)));
  const offsetOf = (property: string): number => {
    const known = offsets.get(property);
    if (known !== undefined) return known;
    const name = Buffer.from(`${property}\0`, 'latin1');
    strings.push(name);
    offsets.set(property, stringsBytes);
    stringsBytes += name.length;
    return stringsBytes - name.length;
  };
  const write = ({ name, properties, children }: FdtNode) => {
    u32(token.beginNode);
    padded(Buffer.from(`${name}\0`, 'latin1'));
    for (const [property, value] of properties) {
      u32(token.property, value.length, offsetOf(property));
      padded(value);
    }
    for (const child of children) write(child);
    u32(token.endNode);
  };
  write(root);
  u32(token.end);
  const struct = Buffer.concat(structure);
  const structOffset = headerBytes + reservationBytes;
  const stringsOffset = structOffset + struct.length;
  const header = Buffer.alloc(structOffset);
  const totalBytes = stringsOffset + stringsBytes;
  // Offsets: structure, strings, reservations; version, last compatible one, boot processor; sizes.
  [
    magic,
    totalBytes,
    structOffset,
    stringsOffset,
    headerBytes,
    version,
    lastCompatibleVersion,
    0,
    stringsBytes,
    struct.length,
  ].forEach((value, index) => header.writeUInt32BE(value, 4 * index));
  return Buffer.concat([header, struct, ...strings], totalBytes);
}

/** The texts of a property such as `compatible`: one after the other, each ended by a zero. */
export function stringList(value: Uint8Array | undefined): readonly string[] {
  const text = Buffer.from(value ?? []).toString('latin1');
  return text === '' ? [] : text.replace(/\0$/, '').split('\0');
}
