/** What an authority vouches for: a DNS name (RFC 8555 §9.7.7) or an IP address (RFC 8738). */
import { isIP } from 'node:net';

export type ChallengeType = 'http-01' | 'tls-alpn-01' | 'dns-01';

export interface Identifier {
  readonly type: 'dns' | 'ip';
  readonly value: string;
}

/** `text` is a lower-case name or an address as contract/domain.ts writes it. */
export function identifierOf(text: string): Identifier {
  return { type: isIP(text) === 0 ? 'dns' : 'ip', value: text };
}
