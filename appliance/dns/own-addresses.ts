/**
 * The public addresses on this machine's own interfaces. IPv6 is read where the kernel says which addresses
 * last: temporary ones (RFC 8981) change daily, deprecated ones are on their way out.
 */
import { readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { canonicalValue } from './rdata.ts';
import { isPublicAddress } from '../contract/public-address.ts';

export interface OwnAddresses {
  readonly ipv4: readonly string[];
  /** The one to be known by first. */
  readonly ipv6: readonly string[];
}

export async function readOwnAddresses(): Promise<OwnAddresses> {
  // A kernel without IPv6 has no such file.
  const inet6 = await readFile('/proc/net/if_inet6', 'latin1').catch(() => '');
  const ipv4 = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address);
  return { ipv4: ipv4.filter(isPublicAddress).sort(), ipv6: lastingAddresses(inet6) };
}

/** linux/if_addr.h; the file shows the low eight bits. */
const flagBits = {
  temporary: 0x01,
  optimistic: 0x04,
  duplicate: 0x08,
  deprecated: 0x20,
  tentative: 0x40,
  permanent: 0x80,
};
const unfit =
  flagBits.temporary | flagBits.optimistic | flagBits.duplicate | flagBits.deprecated | flagBits.tentative;

/**
 * Public addresses that last, best first: set by hand, made from the hardware address, the rest. Pure.
 * @param inet6 the text of /proc/net/if_inet6: address, interface number, prefix length, scope and flags in
 *   hexadecimal, name of the interface (net/ipv6/addrconf.c, if6_seq_show)
 */
export function lastingAddresses(inet6: string): readonly string[] {
  const found = inet6.split('\n').flatMap((line) => {
    const [digits = '', , , scope, flagText = ''] = line.trim().split(/\s+/);
    if (!/^[0-9a-f]{32}$/.test(digits) || scope !== '00') return [];
    const flags = Number.parseInt(flagText, 16);
    if (Number.isNaN(flags) || (flags & unfit) !== 0) return [];
    const address = canonicalValue('AAAA', digits.replace(/.{4}(?=.)/g, '$&:'));
    if (!isPublicAddress(address)) return [];
    // RFC 4291 appendix A: ff:fe in the middle of a hardware address.
    const isFromHardware = digits.slice(22, 26) === 'fffe';
    const rank = (flags & flagBits.permanent) !== 0 ? 0 : isFromHardware ? 1 : 2;
    return [{ address, rank }];
  });
  found.sort((a, b) => a.rank - b.rank || (a.address < b.address ? -1 : 1));
  return found.map(({ address }) => address);
}
