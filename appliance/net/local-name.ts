/**
 * NAME.local: how people on the same network reach the device without any DNS (RFC 6762). Announced by
 * avahi-daemon, which may have to take another name when somebody has this one. Pure.
 */
import { BlockList } from 'node:net';

/** RFC 1918; RFC 4193. */
const homeAddresses = new BlockList();
homeAddresses.addSubnet('10.0.0.0', 8);
homeAddresses.addSubnet('172.16.0.0', 12);
homeAddresses.addSubnet('192.168.0.0', 16);
homeAddresses.addSubnet('fc00::', 7, 'ipv6');

/** True where the device has a private address and no public IPv4 address: behind somebody's router. */
export function isHomeNetwork(addresses: readonly string[]): boolean {
  const isHome = (address: string) => homeAddresses.check(address, address.includes(':') ? 'ipv6' : 'ipv4');
  return addresses.some(isHome) && addresses.every((address) => address.includes(':') || isHome(address));
}

/**
 * The name that avahi-daemon really goes by: it says so whenever it has (again) found one that nobody has.
 * @param lines its output, oldest first
 */
export function announcedName(lines: readonly string[]): string | undefined {
  for (const line of lines.toReversed()) {
    const [, name] = /Server startup complete\. Host name is (\S+)\.local\./.exec(line) ?? [];
    if (name !== undefined) return name;
  }
  return undefined;
}
