/**
 * The PROXY protocol, version 2, sender's side: tells the backend who really connected. HAProxy's
 * proxy-protocol.txt §2.2. TCP over IPv4 and IPv6 only, no TLVs.
 */
import { addressBytes } from '../base/client-address.ts';

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

// offset size field
// 0      12   signature
// 12     1    version 2, command PROXY: 0x21
// 13     1    family and transport: 0x11 TCP over IPv4, 0x21 TCP over IPv6
// 14     2    length of what follows
// 16     …    source address, destination address, source port, destination port
const signature = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);

/**
 * Encodes the header that goes before the first byte of a forwarded connection.
 * @param source the client, as the listening socket names it (`::ffff:` addresses count as IPv4)
 * @throws RangeError when the two addresses are not of one family or no addresses at all
 */
export function encodeProxyHeader(source: Endpoint, destination: Endpoint): Uint8Array {
  const [from, to] = [addressBytes(source.address), addressBytes(destination.address)];
  if (from.length !== to.length) {
    throw new RangeError(`${source.address} and ${destination.address} are not of one family`);
  }
  const header = new Uint8Array(16 + from.length * 2 + 4);
  const view = new DataView(header.buffer);
  header.set(signature);
  header[12] = 0x21;
  header[13] = from.length === 4 ? 0x11 : 0x21;
  view.setUint16(14, from.length * 2 + 4);
  header.set(from, 16);
  header.set(to, 16 + from.length);
  view.setUint16(16 + from.length * 2, source.port);
  view.setUint16(18 + from.length * 2, destination.port);
  return header;
}
