/** Every provider, by name. */
import type { ProviderDefinition } from '../provider.ts';
import { cloudflare } from './cloudflare.ts';
import { desec } from './desec.ts';
import { digitalocean } from './digitalocean.ts';
import { gandi } from './gandi.ts';
import { hetzner } from './hetzner.ts';
import { ovh } from './ovh.ts';
import { porkbun } from './porkbun.ts';
import { powerdns } from './powerdns.ts';
import { rfc2136 } from './rfc2136.ts';
import { route53 } from './route53.ts';

export const providers: readonly ProviderDefinition[] = [
  cloudflare,
  desec,
  digitalocean,
  gandi,
  hetzner,
  ovh,
  porkbun,
  powerdns,
  rfc2136,
  route53,
];

/** The provider whose name servers these are, or undefined when they are none we know. */
export function providerOfNameServers(names: readonly string[]): ProviderDefinition | undefined {
  return providers.find(({ nameServerPattern }) =>
    names.some((name) => nameServerPattern?.test(name) === true),
  );
}
