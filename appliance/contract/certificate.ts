/**
 * Whom a relay's certificate comes from and which names it carries: what the builder, the DNS planner and
 * the device must agree on. Pure.
 */
import type { Config } from './config.ts';
import type { Domain } from './domain.ts';
import { isPublicAddress } from './public-address.ts';

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

/** True for a domain that strangers on the Internet can look up or reach: an authority may vouch for it. */
export function isPublicDomain(domain: Domain): boolean {
  if (domain.kind === 'ip') return isPublicAddress(domain.address);
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
  return isPublicDomain(domain) ? 'acme' : 'self-signed';
}

/** Names the certificate is for: the domain itself first, then what a chatmail relay serves under it. */
export function certificateNames(domain: Domain): readonly string[] {
  if (domain.kind === 'ip') return [domain.address];
  // X.520 names and most verifiers want no underscore below; the subject itself has no choice.
  if (domain.name.startsWith('_')) return [domain.name];
  return [domain.name, `www.${domain.name}`, `mta-sts.${domain.name}`];
}
