/**
 * Reads server name and protocols out of the first bytes of a TLS connection, without taking part in it.
 * RFC 8446 §4.1.2 (TLS 1.3), RFC 5246 §7.4.1.2 (TLS 1.2), RFC 6066 §3 (server name), RFC 7301 (ALPN). SSLv2
 * hellos and encrypted hellos (ECH) are not understood; of an ECH the outer one is read.
 */

export interface ClientHello {
  /** The name in SNI, lower-case, if there is one. */
  readonly serverName: string | undefined;
  /** ALPN, in the client's order. */
  readonly protocols: readonly string[];
}

export type ClientHelloResult =
  | { readonly kind: 'hello'; readonly hello: ClientHello }
  /** Below `atLeastBytes` in all the answer stays this one: no need to ask again. */
  | { readonly kind: 'incomplete'; readonly atLeastBytes: number }
  /** Not a TLS client, or a broken one. */
  | { readonly kind: 'refused'; readonly reason: string };

/**
 * Hellos with post-quantum key shares take 2 kB, with several of them and a session ticket 6 kB. More than
 * this nobody needs, and it bounds what a stranger makes us hold.
 */
export const maxClientHelloBytes = 16_384;

/** Nobody needs more records for it, and each one in a packet of its own makes us look again. */
const maxRecords = 256;

/** All that is ever looked at: the hello, and the headers of the records it came in. */
export const maxReceivedBytes = maxClientHelloBytes + 5 * maxRecords;

// Record layer (RFC 8446 §5.1)          Handshake (§4)
// 0  1  type: 22 handshake              0  1  type: 1 client_hello
// 1  2  legacy version: 3.x             1  3  length
// 3  2  length, 1…16384                 4  …  body
const recordHeaderBytes = 5;
const maxRecordBytes = 16_384;
const handshakeHeaderBytes = 4;
const extensionServerName = 0;
const extensionAlpn = 16;

/**
 * Looks at all bytes received so far, record headers included.
 * The hello may be split over records and packets in any way.
 */
export function readClientHello(received: Uint8Array): ClientHelloResult {
  const handshake = joinRecords(received);
  if ('reason' in handshake) return { kind: 'refused', reason: handshake.reason };
  const { bytes, nextAt } = handshake;
  const first = bytes[0];
  if (first !== undefined && first !== 1) {
    return { kind: 'refused', reason: `handshake message ${first} instead of a client hello` };
  }
  // What is too short to name its own length is looked at again with every byte.
  if (bytes.length < handshakeHeaderBytes) return incomplete(received, received.length + 1);
  const length = ((bytes[1] ?? 0) << 16) | ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0);
  if (length > maxClientHelloBytes - handshakeHeaderBytes) {
    return { kind: 'refused', reason: `client hello of ${length} bytes` };
  }
  if (bytes.length < handshakeHeaderBytes + length) return incomplete(received, nextAt);
  try {
    const body = bytes.subarray(handshakeHeaderBytes, handshakeHeaderBytes + length);
    return { kind: 'hello', hello: decodeBody(body) };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { kind: 'refused', reason: error.message };
  }
}

function incomplete(received: Uint8Array, atLeastBytes: number): ClientHelloResult {
  return received.length >= maxReceivedBytes
    ? { kind: 'refused', reason: 'client hello spread over too many bytes' }
    : { kind: 'incomplete', atLeastBytes };
}

/** The handshake bytes of the records so far, headers taken out, and where the next step of the reading is. */
function joinRecords(received: Uint8Array): { bytes: Uint8Array; nextAt: number } | { reason: string } {
  const parts: Uint8Array[] = [];
  let at = 0;
  while (at < received.length) {
    const type = received[at];
    if (type !== 22) return { reason: at === 0 ? 'not TLS' : `record of type ${type} within the hello` };
    const major = received[at + 1];
    if (major !== undefined && major !== 3) return { reason: 'not TLS' };
    if (received.length < at + recordHeaderBytes) break;
    if (parts.length === maxRecords) return { reason: `client hello in more than ${maxRecords} records` };
    const length = ((received[at + 3] ?? 0) << 8) | (received[at + 4] ?? 0);
    if (length === 0 || length > maxRecordBytes) return { reason: `record of ${length} bytes` };
    const start = at + recordHeaderBytes;
    parts.push(received.subarray(start, Math.min(start + length, received.length)));
    at = start + length;
  }
  return {
    bytes: parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts),
    nextAt: at > received.length ? at : at + recordHeaderBytes,
  };
}

/** Takes bytes off the front; every reading beyond the end is a RangeError. */
class Cursor {
  readonly #bytes: Uint8Array;
  #at = 0;
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }
  get left(): number {
    return this.#bytes.length - this.#at;
  }
  uint(size: 1 | 2): number {
    const bytes = this.take(size);
    return size === 1 ? (bytes[0] ?? 0) : ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
  }
  take(count: number): Uint8Array {
    if (count > this.left) throw new RangeError('client hello ends too early');
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
  /** A vector: its length in `size` bytes, then its bytes. */
  vector(size: 1 | 2): Cursor {
    return new Cursor(this.take(this.uint(size)));
  }
}

function decodeBody(body: Uint8Array): ClientHello {
  const cursor = new Cursor(body);
  cursor.take(2 + 32); // legacy_version, random
  cursor.vector(1); // legacy_session_id
  cursor.vector(2); // cipher_suites
  cursor.vector(1); // legacy_compression_methods
  let serverName: string | undefined;
  let protocols: readonly string[] = [];
  // TLS 1.2 clients may leave extensions out altogether.
  const extensions = cursor.left === 0 ? new Cursor(new Uint8Array()) : cursor.vector(2);
  if (cursor.left > 0) throw new RangeError('bytes after the client hello’s extensions');
  const seen = new Set<number>();
  while (extensions.left > 0) {
    const type = extensions.uint(2);
    const content = extensions.vector(2);
    // RFC 8446 §4.2: no extension twice. GREASE values (RFC 8701) are unknown ones like any other.
    if (seen.has(type)) throw new RangeError(`extension ${type} given twice`);
    seen.add(type);
    if (type === extensionServerName) serverName = decodeServerName(content);
    if (type === extensionAlpn) protocols = decodeAlpn(content);
  }
  return { serverName, protocols };
}

function decodeServerName(content: Cursor): string | undefined {
  const list = content.vector(2);
  while (list.left > 0) {
    const type = list.uint(1);
    const name = list.vector(2);
    if (type !== 0) continue;
    if (name.left === 0 || name.left > 255) throw new RangeError('server name of a length no name has');
    const text = Buffer.from(name.take(name.left)).toString('latin1');
    if (!/^[\x21-\x7e]+$/.test(text)) throw new RangeError('server name that is not ASCII');
    return text.toLowerCase();
  }
  return undefined;
}

function decodeAlpn(content: Cursor): readonly string[] {
  const list = content.vector(2);
  const names: string[] = [];
  while (list.left > 0) {
    const name = list.vector(1);
    if (name.left === 0) throw new RangeError('empty protocol name');
    names.push(Buffer.from(name.take(name.left)).toString('latin1'));
  }
  return names;
}
