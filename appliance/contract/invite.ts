/**
 * What a Delta Chat user scans to get an account.
 *
 * A relay whose certificate an authority vouches for needs its name only: the client makes up the account
 * (`dcaccount:`). Clients check certificates strictly in that scheme, so a relay nobody vouches for gives
 * everything away itself (`dclogin:`, facts/mesh.md §2): servers, ports, and ic=3, "accept invalid
 * certificates". Without servers clients would look up imap.[192.0.2.1] for a minute.
 */
import { type Domain, mailDomain, plainDomain } from './domain.ts';

/** Fresh for every invitation: who scans it first owns it. */
export interface InviteAccount {
  readonly localpart: string;
  readonly password: string;
}

export const inviteLocalpartLength = 9;
export const invitePasswordLength = 22;

export interface InviteLengths {
  readonly localpartLength: number;
  readonly passwordLength: number;
}

/** The usual lengths, or what the relay's rules want instead. */
export function inviteLengths(rules: {
  readonly localpartMin: number;
  readonly localpartMax: number;
  readonly passwordMin: number;
}): InviteLengths {
  return {
    localpartLength: Math.min(Math.max(rules.localpartMin, inviteLocalpartLength), rules.localpartMax),
    passwordLength: Math.max(rules.passwordMin, invitePasswordLength),
  };
}

/** Without what people confuse: a code is sometimes typed. */
const alphabet = 'abcdefghijkmnpqrstuvwxyz23456789';

/**
 * Makes up an account from random bytes, one a character; 32 letters make every byte equally good.
 * @throws RangeError when there are too few
 */
export function makeInviteAccount(
  random: Uint8Array,
  localpartLength = inviteLocalpartLength,
  passwordLength = invitePasswordLength,
): InviteAccount {
  if (random.length < localpartLength + passwordLength) {
    throw new RangeError(`${localpartLength + passwordLength} random bytes are needed`);
  }
  const text = Array.from(random, (byte) => alphabet[byte % alphabet.length] ?? '').join('');
  return {
    localpart: text.slice(0, localpartLength),
    password: text.slice(localpartLength, localpartLength + passwordLength),
  };
}

/** Where a client that has scanned it makes an account with an invite token; it sends a POST there. */
export function tokenInviteUri(domain: Domain, token: string): string {
  return `dcaccount:https://${urlHost(domain)}/new?token=${token}`;
}

/** The domain as a URL has it: an IPv6 address in brackets. */
export function urlHost(domain: Domain): string {
  return domain.kind === 'ip' && domain.family === 6 ? `[${domain.address}]` : plainDomain(domain);
}

/** The account's address as clients write it: an IPv6 literal without its tag. */
export function inviteAddress(domain: Domain, { localpart }: InviteAccount): string {
  return `${localpart}@${mailDomain(domain).replace('[IPv6:', '[')}`;
}

/**
 * True where a client makes up its account by itself, from the relay's name. Not for an address: clients would
 * look for its servers under names such as imap.[192.0.2.1].
 */
export function clientMakesAccount(domain: Domain, isVouchedFor: boolean): boolean {
  return isVouchedFor && domain.kind === 'name';
}

/**
 * @param account unused where the client makes up its own
 * @param isVouchedFor whether the certificate in use comes from an authority
 */
export function inviteUri(domain: Domain, account: InviteAccount, isVouchedFor: boolean): string {
  if (clientMakesAccount(domain, isVouchedFor)) return `dcaccount:${plainDomain(domain)}`;
  return accountUri(domain, account, isVouchedFor);
}

/** Gives an account away, with servers at the domain itself and the usual ports. */
export function accountUri(domain: Domain, account: InviteAccount, isVouchedFor: boolean): string {
  const host = plainDomain(domain);
  // Clients know the usual ports; without them the code is small enough to stand beside the status.
  const servers = [
    ['ih', host],
    ['sh', host],
  ] as const;
  return dclogin(domain, account, isVouchedFor ? servers : [...servers, anyCertificate]);
}

/** Clients check certificates unless they are told not to. */
const anyCertificate = ['ic', '3'] as const;

/**
 * An invitation that names the servers, for a relay that is reached under another name or by other ports
 * than its own, with any certificate.
 * @param servers `host` is a name, or an address without brackets
 */
export function dcloginUri(
  domain: Domain,
  account: InviteAccount,
  servers: { readonly host: string; readonly imaps: number; readonly submissions: number },
): string {
  return dclogin(domain, account, [
    ['ih', servers.host],
    ['ip', String(servers.imaps)],
    ['is', 'ssl'],
    ['sh', servers.host],
    ['sp', String(servers.submissions)],
    ['ss', 'ssl'],
    anyCertificate,
  ]);
}

function dclogin(
  domain: Domain,
  account: InviteAccount,
  servers: readonly (readonly [string, string])[],
): string {
  const query = [['p', account.password], ['v', '1'], ...servers].map(([key, value]) => `${key}=${value}`);
  return `dclogin:${inviteAddress(domain, account)}?${query.join('&')}`;
}
