/** What an SPF record says about the relay. Pure. */
import { BlockList, isIP } from 'node:net';
import type { Fault } from './meaning.ts';

/** RFC 7208 §4.6, as far as it can be seen without further look-ups: does it let the relay send, and nobody else? */
export function spfFault(text: string, addresses: readonly string[], domainName: string): Fault | null {
  const terms = text
    .toLowerCase()
    .split(/ +/)
    .slice(1)
    .filter((term) => term !== '');
  const all = terms.find((term) => /^[+?~-]?all$/.test(term));
  if (all === 'all' || all === '+all')
    return { reason: 'it lets the whole world send in our name', dangerous: true };
  for (const address of addresses) {
    if (!spfAllows(terms, address, domainName)) {
      return { reason: `it does not name ${address} as a sender`, dangerous: all === '-all' };
    }
  }
  if ((all === undefined && !terms.some((term) => term.startsWith('redirect='))) || all === '?all') {
    return { reason: 'it says nothing about other senders' };
  }
  return null;
}

function spfAllows(terms: readonly string[], address: string, domainName: string): boolean {
  for (const term of terms) {
    const [, qualifier = '', name = '', argument] = /^([+?~-]?)([a-z0-9]+)(?:[:=/](.*))?$/.exec(term) ?? [];
    if (spfMatches(name, argument, address, domainName)) return qualifier === '' || qualifier === '+';
  }
  return false;
}

function spfMatches(
  name: string,
  argument: string | undefined,
  address: string,
  domainName: string,
): boolean {
  if (name === 'all') return true;
  // Our only MX is the domain itself, so both lead to its addresses.
  if (name === 'a' || name === 'mx') {
    const target = argument?.split('/')[0] ?? '';
    return target === '' || target === domainName || /^\d+$/.test(target);
  }
  if (name !== 'ip4' && name !== 'ip6') return false;
  const family = name === 'ip4' ? 'ipv4' : 'ipv6';
  const [network = '', length] = (argument ?? '').split('/');
  if (isIP(network) !== isIP(address) || isIP(network) !== (name === 'ip4' ? 4 : 6)) return false;
  const bits = Number(length ?? (name === 'ip4' ? 32 : 128));
  if (!Number.isInteger(bits) || bits < 0 || bits > (name === 'ip4' ? 32 : 128)) return false;
  const list = new BlockList();
  list.addSubnet(network, bits, family);
  return list.check(address, family);
}
