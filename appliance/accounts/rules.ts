/**
 * Who may have an account: addresses, and the rules for creating one on first login. Pure. Numbers come
 * from the configuration, whose defaults are those of chatmail/relay (doveauth.py).
 */
import type { Config } from '../contract/config.ts';
import { isMailDomain, mailDomain } from '../contract/domain.ts';

/** RFC 5321 §4.5.3.1.3: a path is 256 octets, with its angle brackets. */
export const maxAddressLength = 254;

/** Longer than any generated password; keeps what waits for the hash small. */
export const maxPasswordBytes = 1024;

/** Safe as a directory name beside its domain, and in every header and protocol line. */
const localpartPattern = /^[a-z0-9._-]{1,64}$/;

export type Refusal =
  | 'creation-closed'
  | 'localpart-too-short'
  | 'localpart-too-long'
  | 'password-too-short'
  | 'password-too-long';

/**
 * The one spelling of an address of this relay: lower case, IP literals canonical (`[IPv6:2001:db8::1]`
 * for `[2001:DB8::1]`). Null for anything that cannot be an account here.
 */
export function canonicalAddress(config: Config, text: string): string | null {
  if (text.length > maxAddressLength) return null;
  const at = text.lastIndexOf('@');
  if (at < 1) return null;
  const localpart = text.slice(0, at).toLowerCase();
  if (!localpartPattern.test(localpart) || !isMailDomain(config.domain, text.slice(at + 1))) return null;
  return `${localpart}@${mailDomain(config.domain)}`;
}

/** Why `address` (canonical) may not be created by a first login with `password`, or null when it may. */
export function creationRefusal(config: Config, address: string, password: string): Refusal | null {
  const { create, localpartMin, localpartMax, passwordMin } = config.accounts;
  if (create !== 'open') return 'creation-closed';
  const localpartLength = address.lastIndexOf('@');
  if (localpartLength < localpartMin) return 'localpart-too-short';
  if (localpartLength > localpartMax) return 'localpart-too-long';
  // Characters as a person counts them, not UTF-16 units.
  if (Array.from(password).length < passwordMin) return 'password-too-short';
  if (Buffer.byteLength(password) > maxPasswordBytes) return 'password-too-long';
  return null;
}
