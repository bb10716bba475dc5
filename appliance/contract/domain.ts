/**
 * A relay's domain: a DNS name or an IP literal, a union from the first day. The one place where text
 * becomes a Domain, and where address literals are canonicalised (RFC 5321 §4.1.3, RFC 5952).
 */
import { isIPv4, isIPv6, SocketAddress } from 'node:net';
import { domainToASCII, domainToUnicode } from 'node:url';
import { ConfigError } from '../base/errors.ts';

export type Domain =
  /** `name` is lower-case ASCII (A-labels), `unicode` the form people read. */
  | { readonly kind: 'name'; readonly name: string; readonly unicode: string }
  /** `address` is canonical: dotted quad, or RFC 5952 without brackets or tag. */
  | { readonly kind: 'ip'; readonly family: 4 | 6; readonly address: string };

/** RFC 1035 §2.3.4: 253 characters of text, 63 a label. */
const maxNameLength = 253;

/**
 * Reads a domain as a person writes it: a name in any case, an IDN, `192.0.2.1`, `[192.0.2.1]`,
 * `2001:db8::1`, `[IPv6:2001:db8::1]`. A leading `_` label is allowed: Delta Chat takes it as a name
 * whose certificate nobody signs.
 * @throws ConfigError naming the value and the fix
 */
export function parseDomain(text: string): Domain {
  const trimmed = text.trim().replace(/\.$/, '');
  const refuse = (why: string): ConfigError =>
    new ConfigError(
      'domain',
      `${JSON.stringify(text)} is not a domain: ${why}`,
      'Give a name such as chat.example.org, or an IP address',
    );
  if (trimmed === '') throw refuse('it is empty');
  const literal = /^\[(?:ipv6:)?(.*)\]$/i.exec(trimmed)?.[1] ?? trimmed;
  if (isIPv4(literal)) return { kind: 'ip', family: 4, address: literal };
  if (isIPv6(literal) && !literal.includes('%')) {
    return {
      kind: 'ip',
      family: 6,
      address: new SocketAddress({ address: literal, family: 'ipv6' }).address,
    };
  }
  if (trimmed.startsWith('[')) throw refuse('what stands in brackets is not an IP address');
  if (/[/@:\s]/.test(trimmed)) throw refuse('it holds a character that no name has');
  const name = domainToASCII(trimmed);
  if (name === '') throw refuse('it is not a valid internationalised name');
  if (name.length > maxNameLength) throw refuse(`it is longer than ${maxNameLength} characters`);
  const labels = name.split('.');
  if (labels.length < 2) throw refuse('it has no dot');
  for (const [index, label] of labels.entries()) {
    const body = index === 0 ? label.replace(/^_/, '') : label;
    if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(body) || label.length > 63) {
      throw refuse(`the label ${JSON.stringify(label)} is not valid`);
    }
  }
  if (/^\d+$/.test(labels.at(-1) ?? '')) throw refuse('its last label is a number, yet it is no IP address');
  return { kind: 'name', name, unicode: domainToUnicode(name) };
}

/** The part after the @ in mail: `chat.example.org`, `[192.0.2.1]`, `[IPv6:2001:db8::1]`. */
export function mailDomain(domain: Domain): string {
  if (domain.kind === 'name') return domain.name;
  return domain.family === 4 ? `[${domain.address}]` : `[IPv6:${domain.address}]`;
}

/** The name as text without brackets, for file names, titles and certificates. */
export function plainDomain(domain: Domain): string {
  return domain.kind === 'name' ? domain.name : domain.address;
}

/**
 * True when `text` (what follows the @ in an address, any case, IPv6 with or without its tag) means `domain`.
 */
export function isMailDomain(domain: Domain, text: string): boolean {
  if (domain.kind === 'name') return text.toLowerCase() === domain.name;
  if (!text.startsWith('[') || !text.endsWith(']')) return false;
  try {
    const other = parseDomain(text);
    return other.kind === 'ip' && other.address === domain.address;
  } catch {
    return false;
  }
}
