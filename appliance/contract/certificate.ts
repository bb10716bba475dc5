/**
 * Whom a relay's certificate comes from and which names it carries: what the builder, the DNS planner and
 * the device must agree on. Pure.
 */
import { BlockList } from 'node:net';
import type { Config } from './config.ts';
import type { Domain } from './domain.ts';

/**
 * Top-level names that no public authority signs for: RFC 6761, 6762 and 7686, ICANN's `.internal`
 * (2024), and those that home routers and companies use by habit.
 */
const privateSuffixes: ReadonlySet<string> = new Set([
  'alt',
  'arpa',
  'corp',
  'example',
  'home',
  'internal',
  'intranet',
  'invalid',
  'lan',
  'local',
  'localdomain',
  'localhost',
  'mail',
  'onion',
  'private',
  'test',
]);

/** IANA's IPv4 and IPv6 special-purpose address registries (RFC 6890): what the Internet does not carry. */
const notPublic = new BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 3],
] as const) {
  notPublic.addSubnet(network, prefix, 'ipv4');
}
for (const [network, prefix] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const) {
  notPublic.addSubnet(network, prefix, 'ipv6');
}
/** RFC 4291 §2.4: all of IPv6 that has been given out for global unicast. */
const globalUnicast = new BlockList();
globalUnicast.addSubnet('2000::', 3, 'ipv6');

/** True for an address that strangers on the Internet can reach. */
export function isPublicAddress(address: string, family: 4 | 6): boolean {
  if (family === 4) return !notPublic.check(address, 'ipv4');
  return globalUnicast.check(address, 'ipv6') && !notPublic.check(address, 'ipv6');
}

function isPublic(domain: Domain): boolean {
  if (domain.kind === 'ip') return isPublicAddress(domain.address, domain.family);
  // Delta Chat takes a name with a leading underscore as one that nobody vouches for.
  return !domain.name.startsWith('_') && privateSuffix(domain) === undefined;
}

/** The part of a private network's name that the DNS of the Internet does not have: `lan`, `home.arpa`. */
export function privateSuffix(domain: Domain): string | undefined {
  if (domain.kind === 'ip') return undefined;
  const labels = domain.name.split('.');
  const last = labels.at(-1) ?? '';
  if (!privateSuffixes.has(last)) return undefined;
  return last === 'arpa' ? labels.slice(-2).join('.') : last;
}

/** Who signs the relay's certificate: an authority over ACME, or the relay itself. */
export function certificateSource({ domain, tls }: Pick<Config, 'domain' | 'tls'>): 'acme' | 'self-signed' {
  if (tls.certificate !== 'auto') return tls.certificate;
  return isPublic(domain) ? 'acme' : 'self-signed';
}

/** Names the certificate is for: the domain itself first, then what a chatmail relay serves under it. */
export function certificateNames(domain: Domain): readonly string[] {
  if (domain.kind === 'ip') return [domain.address];
  // X.520 names and most verifiers want no underscore below; the subject itself has no choice.
  if (domain.name.startsWith('_')) return [domain.name];
  return [domain.name, `www.${domain.name}`, `mta-sts.${domain.name}`];
}
