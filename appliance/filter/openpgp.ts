/**
 * Is this an encrypted OpenPGP message? Looks at the armor and at packet headers only; nothing is decrypted,
 * no content is looked at. Source: RFC 9580 §4.2 (packet headers), §6 (armor); the rules are chatmail's.
 */

const beginLine = '-----BEGIN PGP MESSAGE-----\r\n';
const endLine = '-----END PGP MESSAGE-----';

/** RFC 9580 §5: the packet types of an encrypted message. */
const publicKeyEncryptedSessionKey = 1;
const symmetricKeyEncryptedSessionKey = 3;
const symmetricallyEncryptedIntegrityProtectedData = 18;

/** Decoded in slabs, so that a 30 MB message costs no second buffer. */
const slabBytes = 48 * 1024;

const carriageReturn = 13;
const lineFeed = 10;
const padding = 64;
const lineEnd = 65;
const invalid = 255;

/** What each byte means in the armor's base64: 0–63, padding, line end, invalid. */
const meanings: Uint8Array = (() => {
  const table = new Uint8Array(256).fill(invalid);
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  for (let value = 0; value < 64; value++) table[alphabet.charCodeAt(value)] = value;
  table['='.charCodeAt(0)] = padding;
  table[carriageReturn] = lineEnd;
  table[lineFeed] = lineEnd;
  return table;
})();

/**
 * True when `bytes` is one armored message and nothing else, and that message is session key packets followed
 * by one encrypted, integrity-protected packet that ends where the data ends.
 *
 * @param allowVersionHeader whether the armor may carry one `Version:` line; it names the sender's program, so
 *   a relay takes it from others yet not from its own users
 */
export function isEncryptedArmor(
  bytes: Buffer,
  { allowVersionHeader }: { allowVersionHeader: boolean },
): boolean {
  if (!startsWith(bytes, 0, beginLine)) return false;
  let end = trimLineEnds(bytes, 0, bytes.length);
  if (!startsWith(bytes, end - endLine.length, endLine)) return false;
  end -= endLine.length;
  let start = beginLine.length;
  if (startsWith(bytes, start, 'Version: ')) {
    if (!allowVersionHeader) return false;
    const next = bytes.indexOf('\r\n', start);
    if (next < 0 || next >= end) return false;
    start = next + 2;
  }
  // The end line must start a line, and the checksum is a line of its own.
  if (end <= start || bytes[end - 1] !== lineFeed) return false;
  end = withoutChecksum(bytes, start, trimLineEnds(bytes, start, end));
  const walker = new PacketWalker();
  return decodeBase64(bytes, start, end, (slab) => walker.push(slab)) && walker.complete;
}

/** RFC 9580 §6.1: an optional last line, `=` and four characters. It is not checked, as the RFC asks. */
function withoutChecksum(bytes: Buffer, start: number, end: number): number {
  const line = end - 5;
  const isChecksum =
    line > start &&
    bytes[line] === 0x3d &&
    bytes[line - 1] === lineFeed &&
    bytes.subarray(line + 1, end).every((byte) => (meanings[byte] ?? invalid) < 64);
  return isChecksum ? line : end;
}

/**
 * Strict base64 (RFC 4648 §4) but for line ends, handed out in slabs.
 * @returns false when it is not base64 or `take` returned false
 */
function decodeBase64(bytes: Buffer, start: number, end: number, take: (slab: Buffer) => boolean): boolean {
  const slab = Buffer.allocUnsafe(slabBytes);
  let filled = 0;
  let bits = 0;
  let group = 0;
  let paddings = 0;
  for (let at = start; at < end; at++) {
    // Four characters that are plain base64, as nearly all are, in one step.
    while (group === 0 && paddings === 0 && at + 4 <= end && filled <= slabBytes - 6) {
      const first = meanings[bytes[at] ?? 0] ?? invalid;
      const second = meanings[bytes[at + 1] ?? 0] ?? invalid;
      const third = meanings[bytes[at + 2] ?? 0] ?? invalid;
      const fourth = meanings[bytes[at + 3] ?? 0] ?? invalid;
      if ((first | second | third | fourth) >= padding) break;
      slab[filled++] = (first << 2) | (second >> 4);
      slab[filled++] = ((second & 0xf) << 4) | (third >> 2);
      slab[filled++] = ((third & 3) << 6) | fourth;
      at += 4;
    }
    if (at === end) break;
    const meaning = meanings[bytes[at] ?? 0] ?? invalid;
    if (meaning === lineEnd) continue;
    if (meaning === invalid) return false;
    if (meaning === padding) {
      paddings++;
      if (paddings > 2 || group < 2) return false;
    } else if (paddings > 0) return false;
    else bits = (bits << 6) | meaning;
    if (++group < 4) continue;
    if (paddings > 0) {
      // Bits that belong to no byte must be zero, or one message would have several spellings.
      if ((bits & (paddings === 1 ? 0b11 : 0b1111)) !== 0) return false;
      if (paddings === 1) {
        slab[filled++] = (bits >> 10) & 0xff;
        slab[filled++] = (bits >> 2) & 0xff;
      } else slab[filled++] = (bits >> 4) & 0xff;
    } else {
      slab[filled++] = bits >> 16;
      slab[filled++] = (bits >> 8) & 0xff;
      slab[filled++] = bits & 0xff;
    }
    group = 0;
    bits = 0;
    if (filled > slabBytes - 3) {
      if (!take(slab.subarray(0, filled))) return false;
      filled = 0;
    }
    if (paddings > 0) return restIsBlank(bytes, at + 1, end) && take(slab.subarray(0, filled));
  }
  return group === 0 && take(slab.subarray(0, filled));
}

function restIsBlank(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (meanings[bytes[at] ?? 0] !== lineEnd) return false;
  return true;
}

/** Walks packet headers over bytes that come in pieces; bodies are skipped. */
export class PacketWalker {
  /** Bytes of the current header that are here already; a header is at most 6 bytes. */
  #header: number[] = [];
  /** Bytes of the current packet's body (or of its current part) still to skip. */
  #skipBytes = 0;
  /** After this part another length follows, with no tag. */
  #partial = false;
  #sawEncryptedData = false;
  #refused = false;

  /** True when what was pushed is a whole encrypted message. */
  get complete(): boolean {
    return (
      !this.#refused &&
      this.#sawEncryptedData &&
      !this.#partial &&
      this.#skipBytes === 0 &&
      this.#header.length === 0
    );
  }

  /** @returns false once it cannot become an encrypted message any more */
  push(bytes: Uint8Array): boolean {
    let at = 0;
    while (at < bytes.length && !this.#refused) {
      if (this.#skipBytes > 0) {
        const skipped = Math.min(this.#skipBytes, bytes.length - at);
        this.#skipBytes -= skipped;
        at += skipped;
      } else {
        this.#refused = !this.#headerByte(bytes[at] ?? 0);
        at++;
      }
    }
    return !this.#refused;
  }

  #headerByte(byte: number): boolean {
    if (this.#partial) {
      // A further length of the encrypted data, which has no tag of its own.
      this.#header = this.#header.length === 0 ? [newFormatEncryptedData] : this.#header;
    } else if (this.#header.length === 0) {
      // Nothing may follow the encrypted data.
      if (this.#sawEncryptedData) return false;
      const type = packetType(byte);
      if (
        type !== publicKeyEncryptedSessionKey &&
        type !== symmetricKeyEncryptedSessionKey &&
        type !== symmetricallyEncryptedIntegrityProtectedData
      ) {
        return false;
      }
    }
    this.#header.push(byte);
    const length = packetLength(this.#header);
    if (length === 'more') return true;
    if (length === null) return false;
    const type = packetType(this.#header[0] ?? 0);
    const isData = type === symmetricallyEncryptedIntegrityProtectedData;
    // RFC 9580 §4.2.1.4: only data packets may be partial.
    if (length.partial && !isData) return false;
    this.#sawEncryptedData = isData;
    this.#partial = length.partial;
    this.#skipBytes = length.bytes;
    this.#header = [];
    return true;
  }
}

/** The tag byte that a partial packet's later lengths are read under. */
const newFormatEncryptedData = 0b1100_0000 | symmetricallyEncryptedIntegrityProtectedData;

/** RFC 9580 §4.2: bit 7 is always set, bit 6 tells the formats apart. Null when it is no packet. */
function packetType(tag: number): number | null {
  if ((tag & 0x80) === 0) return null;
  return (tag & 0x40) !== 0 ? tag & 0x3f : (tag >> 2) & 0x0f;
}

/** The body length of a header (tag first); 'more' while bytes are missing, null for a length not allowed. */
function packetLength(header: readonly number[]): { bytes: number; partial: boolean } | 'more' | null {
  const [tag = 0, first, second = 0] = header;
  if (first === undefined) return (tag & 0x40) === 0 && (tag & 3) === 3 ? null : 'more';
  const bigEndian = (octets: readonly number[]) => octets.reduce((sum, octet) => sum * 256 + octet, 0);
  if ((tag & 0x40) === 0) {
    // §4.2.2: 0, 1, 2 stand for 1, 2, 4 octets of length; 3 (indeterminate) was refused above.
    const octets = 1 << (tag & 3);
    return header.length < 1 + octets ? 'more' : { bytes: bigEndian(header.slice(1)), partial: false };
  }
  if (first < 192) return { bytes: first, partial: false };
  if (first < 224) {
    return header.length < 3 ? 'more' : { bytes: ((first - 192) << 8) + second + 192, partial: false };
  }
  if (first < 255) return { bytes: 2 ** (first & 0x1f), partial: true };
  return header.length < 6 ? 'more' : { bytes: bigEndian(header.slice(2)), partial: false };
}

function startsWith(bytes: Buffer, offset: number, text: string): boolean {
  return offset >= 0 && bytes.toString('latin1', offset, offset + text.length) === text;
}

/** The end of `bytes[start, end)` without the line ends that it closes with. */
function trimLineEnds(bytes: Buffer, start: number, end: number): number {
  let at = end;
  while (at > start && (bytes[at - 1] === lineFeed || bytes[at - 1] === carriageReturn)) at--;
  return at;
}
