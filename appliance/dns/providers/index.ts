/** Every provider, by name. */
import type { ProviderDefinition } from '../provider.ts';
import { powerdns } from './powerdns.ts';
import { rfc2136 } from './rfc2136.ts';

export const providers: readonly ProviderDefinition[] = [rfc2136, powerdns];

/** The provider whose name servers these are, or undefined when they are none we know. */
export function providerOfNameServers(names: readonly string[]): ProviderDefinition | undefined {
  return providers.find(({ nameServerSuffixes }) =>
    nameServerSuffixes.some((suffix) => names.some((name) => name === suffix || name.endsWith(`.${suffix}`))),
  );
}
