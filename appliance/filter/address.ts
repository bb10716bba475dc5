/**
 * Mail addresses, far narrower than RFC 5322: the gate must read an address as every client does, so that
 * whatever two programs could read differently is refused.
 */
import { type Domain, isMailDomain, parseDomain } from '../contract/domain.ts';
import { unfold } from './message.ts';

/** RFC 5321 §4.5.3.1: 64 characters of local part, 255 of domain. */
const maxAddressLength = 64 + 1 + 255;

/** RFC 5321 §4.1.2 Dot-string, and a domain or an address literal. */
const addrSpec =
  /^([A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*)@([A-Za-z0-9_.-]+|\[[A-Za-z0-9:.]+\])$/;

export interface Address {
  readonly text: string;
  readonly localpart: string;
  /** As written: `chat.example.org`, `[192.0.2.1]`. */
  readonly domain: string;
}

/** Reads `localpart@domain`; null for anything else. Quoted local parts are refused. */
export function parseAddress(text: string): Address | null {
  if (text.length > maxAddressLength) return null;
  const match = addrSpec.exec(text);
  return match === null ? null : { text, localpart: match[1] ?? '', domain: match[2] ?? '' };
}

/**
 * The Domain an address belongs to; null when it is none. An IP address counts only as a literal in
 * brackets: `a@192.0.2.1` is not an address (RFC 5321 §4.1.3).
 */
export function domainOf(address: Address): Domain | null {
  try {
    const domain = parseDomain(address.domain);
    return domain.kind === 'ip' && !address.domain.startsWith('[') ? null : domain;
  } catch {
    return null;
  }
}

/** True when both are the same mailbox: any case, and address literals in any spelling. */
export function sameMailbox(one: Address, other: Address): boolean {
  if (one.localpart.toLowerCase() !== other.localpart.toLowerCase()) return false;
  if (one.domain.toLowerCase() === other.domain.toLowerCase()) return true;
  const domain = domainOf(one);
  return domain?.kind === 'ip' && isMailDomain(domain, other.domain);
}

/**
 * The single mailbox of a From field: `a@b` or `Display Name <a@b>`, comments allowed outside the brackets.
 * @returns null for groups, lists, a bare @ in the display name, and whatever else could be read two ways
 */
export function parseFromField(value: string): Address | null {
  const text = unfold(value);
  if (text.includes('\0')) return null;
  let outside = '';
  let at = 0;
  let bracketed: string | null = null;
  while (at < text.length) {
    const character = text[at] ?? '';
    if (character === '"' || character === '(') {
      const end = character === '"' ? endOfQuoted(text, at) : endOfComment(text, at);
      // A quoted text may be a name but no part of an address, which a quote is not either; a comment is space.
      if (end === null) return null;
      outside += character === '"' ? '"' : ' ';
      at = end;
    } else if (character === '<') {
      const end = text.indexOf('>', at);
      if (end < 0 || bracketed !== null) return null;
      bracketed = text.slice(at + 1, end);
      // Nothing but space may follow the brackets.
      outside += '\0';
      at = end + 1;
    } else {
      outside += character;
      at++;
    }
  }
  if (bracketed === null) return parseAddress(outside.trim());
  const [displayName = '', after = ''] = outside.split('\0');
  if (after.trim() !== '' || /[@,;:<>\\[\]]/.test(displayName) || hasControl(displayName)) return null;
  return parseAddress(bracketed);
}

/** The index after the closing quote; null when there is none. */
function endOfQuoted(text: string, start: number): number | null {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '"') return at + 1;
  }
  return null;
}

/** The index after the closing parenthesis; null when there is none. Comments nest. */
function endOfComment(text: string, start: number): number | null {
  let depth = 0;
  for (let at = start; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '(') depth++;
    else if (text[at] === ')' && --depth === 0) return at + 1;
  }
  return null;
}

function hasControl(text: string): boolean {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  return /[\x00-\x08\x0a-\x1f\x7f]/.test(text);
}
