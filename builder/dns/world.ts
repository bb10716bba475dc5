/** The network as the dns verbs use it, in one value that tests replace. */
import { getServers } from 'node:dns';
import { setTimeout as delay } from 'node:timers/promises';
import type { LookupContext } from '../../appliance/dns/delegation.ts';
import { exchange, type NameServer } from '../../appliance/dns/exchange.ts';
import type { ProviderContext } from '../../appliance/dns/provider.ts';
import { CliError } from '../cli/errors.ts';

export interface DnsWorld {
  readonly lookup: Omit<LookupContext, 'signal'>;
  readonly provider: ProviderContext;
  /** Milliseconds of a clock that only goes forward. */
  readonly now: () => number;
}

/** Quad9, Cloudflare and Google: run by different hands, all of them checking DNSSEC. */
const publicResolvers: readonly NameServer[] = [
  { address: '9.9.9.9' },
  { address: '1.1.1.1' },
  { address: '8.8.8.8' },
];
const maxSystemResolvers = 2;

/** @param resolvers what `--resolver` says; without it the system's own and three public ones are asked */
export function realWorld(resolvers: readonly string[], clock: () => Date): DnsWorld {
  const system = () => getServers().slice(0, maxSystemResolvers).map(parseNameServer);
  return {
    lookup: {
      exchange,
      resolvers: resolvers.length > 0 ? resolvers.map(parseNameServer) : [...system(), ...publicResolvers],
    },
    provider: {
      fetch: globalThis.fetch,
      clock,
      sleep: async (ms, signal) => {
        await delay(ms, undefined, { signal });
      },
    },
    now: () => performance.now(),
  };
}

/**
 * `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1`, `[2001:db8::1]:5353`.
 * @throws CliError 'usage'
 */
export function parseNameServer(text: string): NameServer {
  const match = /^(?:\[([0-9a-f:.]+)\]|(\d+\.\d+\.\d+\.\d+)|([0-9a-f:]+:[0-9a-f:.]*))(?::(\d{1,5}))?$/i.exec(
    text,
  );
  const address = match?.[1] ?? match?.[2] ?? match?.[3];
  if (address === undefined) {
    throw new CliError('usage', `${JSON.stringify(text)} is not the address of a resolver`, {
      fix: 'Give an address such as 9.9.9.9 or [2620:fe::fe]:53',
    });
  }
  return match?.[4] === undefined ? { address } : { address, port: Number(match[4]) };
}
