/** What the ordering program is told, from the configuration and what was learnt before. Pure. */
import type { Config } from '../contract/config.ts';
import { possibleChallenges } from './challenges.ts';
import type { Account, History } from './history.ts';
import { type ChallengeType, identifierOf } from './identifier.ts';
import type { OrderRequest } from './order-protocol.ts';

export interface OrderRequestInput {
  readonly config: Pick<Config, 'domain' | 'tls'>;
  readonly history: History;
  /** The domain first; the certificate may do without the others. */
  readonly names: readonly string[];
  /** The zone can be changed from here. */
  readonly hasDns: boolean;
  readonly account: Account;
  /** Of the certificate. */
  readonly keyPem: string;
  /** The certificate this one takes the place of (RFC 9773 §4.1). */
  readonly replaces: string | undefined;
}

export function orderRequest(input: OrderRequestInput): OrderRequest {
  const { config, history, names, hasDns, account, keyPem, replaces } = input;
  const { tls, domain } = config;
  const waysFor = (name: string): ChallengeType[] => {
    const all = possibleChallenges(identifierOf(name).type, tls.challenge, hasDns);
    const last = history.proven[name];
    // What worked before comes first.
    return last !== undefined && all.includes(last) ? [last, ...all.filter((way) => way !== last)] : [...all];
  };
  return {
    kind: 'order',
    directoryUrl: tls.directory,
    accountKeyPem: account.keyPem,
    ...(account.url === undefined ? {} : { accountUrl: account.url }),
    contact: tls.contact,
    tellContact: account.contact !== tls.contact,
    names: names.map((name, index) => ({
      identifier: { ...identifierOf(name) },
      required: index === 0,
      challenges: waysFor(name),
    })),
    // Let's Encrypt gives certificates for addresses with this profile only; others know none.
    profile: tls.profile === '' && domain.kind === 'ip' ? 'shortlived' : tls.profile,
    profileRequired: tls.profile !== '',
    certificateKeyPem: keyPem,
    ...(replaces === undefined ? {} : { replaces }),
  };
}
