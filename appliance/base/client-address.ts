/** What a client is counted as, and how many connections one may have. */
import { isIPv4, isIPv6, SocketAddress } from 'node:net';

/** An address without the mapping that dual-stack sockets put around IPv4 (RFC 4291 §2.5.5.2). */
export function unmapped(address: string): string {
  const match = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  return match?.[1] ?? address;
}

/**
 * The bytes of an address: 4 or 16. Mapped IPv4 counts as IPv4; a zone (`%eth0`) is left out.
 * @throws RangeError when it is no address
 */
export function addressBytes(text: string): Uint8Array {
  const address = unmapped(text.split('%', 1)[0] ?? '');
  if (isIPv4(address)) return Uint8Array.from(address.split('.'), Number);
  if (!isIPv6(address)) throw new RangeError(`${JSON.stringify(text)} is not an IP address`);
  const canonical = new SocketAddress({ address, family: 'ipv6' }).address;
  const [head = '', tail] = canonical.split('::');
  const groups = (part: string) =>
    part === ''
      ? []
      : part.split(':').flatMap((group) => {
          if (!group.includes('.')) return [Number.parseInt(group, 16)];
          const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
          return [(a << 8) | b, (c << 8) | d];
        });
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  const words = [...front, ...Array<number>(8 - front.length - back.length).fill(0), ...back];
  return Uint8Array.from(words.flatMap((word) => [word >> 8, word & 0xff]));
}

/**
 * What is counted as one client: an IPv4 address, or the /64 that one IPv6 customer owns. Any text but an
 * address counts as one client too.
 */
export function clientKey(address: string): string {
  const plain = unmapped(address);
  if (!plain.includes(':')) return plain;
  try {
    return Buffer.from(addressBytes(plain).subarray(0, 8)).toString('hex');
  } catch {
    return plain;
  }
}

/** Counts how much of something each client has. */
export class ClientCounter {
  readonly #counts = new Map<string, number>();
  readonly #max: number;

  /** @param max that one client may have at a time */
  constructor(max: number) {
    this.#max = max;
  }

  /** One more for the client; false, and nothing is counted, when it has all it may have. */
  tryEnter(key: string): boolean {
    const count = this.#counts.get(key) ?? 0;
    if (count >= this.#max) return false;
    this.#counts.set(key, count + 1);
    return true;
  }

  /** One less. */
  leave(key: string): void {
    const left = (this.#counts.get(key) ?? 0) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
  }
}
