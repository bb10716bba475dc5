/**
 * The packets that carry the milter protocol: `u32 length | u8 code | payload`, length counting code and
 * payload, big-endian. What the payloads mean is in codec.ts. Source: libmilter's mfdef.h.
 */
import { ProtocolError } from '../base/errors.ts';

/**
 * The largest packet either side may send. Postfix sends at most 65,535 bytes of body and header_size_limit
 * (102,400) bytes of header in one; twice that leaves room for a raised limit.
 */
export const maxPacketBytes = 256 * 1024;

/** A frame: one packet, not yet understood. */
export interface Packet {
  readonly code: string;
  readonly payload: Buffer;
}

/** Cuts a byte stream into packets. Keeps at most one unfinished packet. */
export class PacketDecoder {
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #wantedBytes = 5;

  /**
   * @returns the packets that `chunk` completes, in order
   * @throws ProtocolError for a length of 0 or above `maxPacketBytes`; the decoder is then useless
   */
  push(chunk: Buffer): Packet[] {
    this.#pending.push(chunk);
    this.#pendingBytes += chunk.length;
    // Joining only when a packet is whole keeps byte-by-byte input linear.
    if (this.#pendingBytes < this.#wantedBytes) return [];
    const bytes = this.#pending.length === 1 ? chunk : Buffer.concat(this.#pending, this.#pendingBytes);
    const packets: Packet[] = [];
    let offset = 0;
    this.#wantedBytes = 5;
    while (bytes.length - offset >= 5) {
      const length = bytes.readUInt32BE(offset);
      if (length === 0 || length > maxPacketBytes) {
        throw new ProtocolError(
          `A milter packet claims ${length} bytes, allowed are 1 to ${maxPacketBytes} bytes`,
        );
      }
      const end = offset + 4 + length;
      if (end > bytes.length) {
        this.#wantedBytes = 4 + length;
        break;
      }
      packets.push({
        code: String.fromCharCode(bytes[offset + 4] ?? 0),
        payload: bytes.subarray(offset + 5, end),
      });
      offset = end;
    }
    this.#pending = offset < bytes.length ? [bytes.subarray(offset)] : [];
    this.#pendingBytes = bytes.length - offset;
    return packets;
  }

  /** True between packets: an end of the stream here is not a truncation. */
  get atBoundary(): boolean {
    return this.#pendingBytes === 0;
  }
}

/** A value that is missing, cut short or followed by something is the peer's fault, so every read checks. */
export class PayloadReader {
  readonly #code: string;
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(code: string, bytes: Buffer) {
    this.#code = code;
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#offset === this.#bytes.length;
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#advance(1));
  }

  u16(): number {
    return this.#bytes.readUInt16BE(this.#advance(2));
  }

  u32(): number {
    return this.#bytes.readUInt32BE(this.#advance(4));
  }

  string(): string {
    const end = this.#bytes.indexOf(0, this.#offset);
    if (end < 0) throw this.#broken('a string has no end');
    const text = this.#bytes.toString('latin1', this.#offset, end);
    this.#offset = end + 1;
    return text;
  }

  strings(): string[] {
    const all: string[] = [];
    while (!this.done) all.push(this.string());
    return all;
  }

  rest(): Buffer {
    return this.#bytes.subarray(this.#advance(this.#bytes.length - this.#offset));
  }

  finish(): void {
    if (!this.done) throw this.#broken(`${this.#bytes.length - this.#offset} bytes are left over`);
  }

  #advance(bytes: number): number {
    const start = this.#offset;
    if (start + bytes > this.#bytes.length) throw this.#broken('it is cut short');
    this.#offset += bytes;
    return start;
  }

  #broken(why: string): ProtocolError {
    return new ProtocolError(`Milter packet ${JSON.stringify(this.#code)} is malformed: ${why}`);
  }
}

/** @throws RangeError when the packet would be larger than `maxPacketBytes` */
export function encodePacket(code: string, ...fields: Buffer[]): Buffer {
  const head = Buffer.alloc(5);
  const length = fields.reduce((sum, field) => sum + field.length, 1);
  if (length > maxPacketBytes) throw new RangeError(`A milter packet of ${length} bytes is too large`);
  head.writeUInt32BE(length, 0);
  head.write(code, 4, 'latin1');
  return Buffer.concat([head, ...fields], 4 + length);
}

/** Text with the NUL that ends it. @throws RangeError when a NUL stands in it */
export function string(text: string): Buffer {
  if (text.includes('\0')) throw new RangeError('A milter string cannot hold a NUL');
  return latin1(`${text}\0`);
}

export function latin1(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
