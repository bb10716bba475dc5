/** Which servers take a domain's mail (RFC 5321 §5.1, RFC 7505), in the order in which to try them. */
import { networkInterfaces } from 'node:os';
import { BlockList, isIPv6 } from 'node:net';
import { type Domain, isMailDomain, parseDomain } from '../contract/domain.ts';
import { replyOf, type SmtpReply } from '../smtp/reply.ts';
import { DnsFailureError, type MailResolver } from './resolver.ts';

export interface MailHost {
  /** What its certificate has to name: a host name, or an address without brackets. */
  readonly name: string;
  /** Only for a literal; a name is looked up when its turn comes. */
  readonly address?: string;
  /** False where no authority vouches for anybody: address literals, names with a leading underscore. */
  readonly needsCertificate: boolean;
  /** The way to this name is DNSSEC-validated, which DANE asks for (RFC 7672 §2.2.1). */
  readonly isSecure: boolean;
}

export type Route =
  | { readonly kind: 'hosts'; readonly hosts: readonly MailHost[] }
  | { readonly kind: 'refused'; readonly reply: SmtpReply };

export interface RouteOptions {
  readonly resolver: MailResolver;
  /** Our own domain: a list of servers that leads back to us ends before us. */
  readonly ownDomain: Domain;
  /** 0 ≤ x < 1: servers of equal preference share the load (RFC 5321 §5.1). */
  readonly random: () => number;
}

/** As Postfix has it (smtp_mx_address_limit): who has more can be reached by these. */
const maxHosts = 5;

/** @param domain what follows the @ */
export async function findRoute(
  domain: string,
  { resolver, ownDomain, random }: RouteOptions,
  signal: AbortSignal,
): Promise<Route> {
  if (isMailDomain(ownDomain, domain)) return refused(loop(domain));
  const parsed = tryParse(domain);
  if (parsed === null) return refused('512 5.1.2 The domain of the address is not valid');
  if (parsed.kind === 'ip') {
    if (!domain.startsWith('[')) return refused('512 5.1.2 An address literal stands in brackets');
    const { address } = parsed;
    return { kind: 'hosts', hosts: [{ name: address, address, needsCertificate: false, isSecure: false }] };
  }
  try {
    return await lookUpMx(parsed.name, { resolver, ownDomain, random }, signal);
  } catch (error) {
    if (!(error instanceof DnsFailureError)) throw error;
    return refused(`451 4.4.3 ${error.message}`);
  }
}

async function lookUpMx(
  name: string,
  { resolver, ownDomain, random }: RouteOptions,
  signal: AbortSignal,
): Promise<Route> {
  const answer = await resolver.query(name, 'MX', signal);
  if (answer.kind === 'no-name') return refused(`512 5.1.2 The domain ${name} does not exist`);
  const { isSecure } = answer;
  // RFC 5321 §5.1: a domain without MX is its own.
  if (answer.kind === 'no-data') return { kind: 'hosts', hosts: [mailHost(name, isSecure)] };
  const exchanges = answer.values
    .map((value) => {
      const [preference = '', host = ''] = value.split(' ');
      return { preference: Number(preference), host: host.toLowerCase().replace(/\.$/, ''), lot: random() };
    })
    .toSorted((one, other) => one.preference - other.preference || one.lot - other.lot);
  // RFC 7505: a lone "." takes no mail at all.
  if (exchanges.every(({ host }) => host === '')) {
    return refused(`556 5.1.10 The domain ${name} takes no mail`);
  }
  const own = exchanges.find(({ host }) => isMailDomain(ownDomain, host));
  // RFC 5321 §5.1: what comes at or after ourselves would send it round.
  const usable = exchanges.filter(
    ({ host, preference }) => host !== '' && (own === undefined || preference < own.preference),
  );
  if (usable.length === 0) return refused(loop(name));
  return { kind: 'hosts', hosts: usable.slice(0, maxHosts).map(({ host }) => mailHost(host, isSecure)) };
}

function mailHost(name: string, isSecure: boolean): MailHost {
  // Nobody can have a certificate for such a name, so that it says of itself that it has none.
  return { name, needsCertificate: !name.startsWith('_'), isSecure };
}

function tryParse(domain: string): Domain | null {
  try {
    return parseDomain(domain);
  } catch {
    return null;
  }
}

function refused(text: string): Route {
  return { kind: 'refused', reply: replyOf(text) };
}

const loop = (domain: string): string => `554 5.4.6 Mail for ${domain} loops back to this relay`;

const nowhere = new BlockList();
nowhere.addSubnet('0.0.0.0', 8);
nowhere.addSubnet('127.0.0.0', 8);
nowhere.addSubnet('224.0.0.0', 3);
nowhere.addAddress('::', 'ipv6');
nowhere.addAddress('::1', 'ipv6');
nowhere.addSubnet('ff00::', 8, 'ipv6');

/** True for addresses that are this machine's, or nobody's: loopback, unspecified, multicast, broadcast. */
export function isOwnAddress(address: string): boolean {
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  // BlockList knows IPv4 addresses mapped into IPv6, too.
  if (nowhere.check(address, family)) return true;
  const own = new BlockList();
  for (const entry of Object.values(networkInterfaces()).flatMap((list) => list ?? [])) {
    own.addAddress(entry.address, entry.family === 'IPv6' ? 'ipv6' : 'ipv4');
  }
  return own.check(address, family);
}
