/** A world in which what a provider's fake holds is what its name servers answer. */
import type { DnsWorld } from '../../../builder/dns/world.ts';
import { testContext } from '../../appliance/dns/providers/conformance.ts';
import type { ZoneStore } from './http-fake.ts';
import { type Table, tableExchange, tableResolver } from './table.ts';

export interface FakeWorldOptions {
  /** The zone's name servers, as the registrar names them. */
  readonly nameServers?: Readonly<Record<string, readonly string[]>>;
  /** Records that the world sees whatever the provider holds: then nothing ever becomes visible. */
  readonly frozen?: readonly string[];
  readonly table?: Partial<Table>;
}

export function fakeWorld(
  fake: { readonly baseUrl: string; readonly store: ZoneStore },
  zone: string,
  options: FakeWorldOptions = {},
): DnsWorld {
  let time = 0;
  const table: Table = {
    zones: {
      org: { servers: { 'a.org-servers.net': ['192.0.2.100'] }, records: [] },
      [zone]: {
        servers: options.nameServers ?? {
          'ns1.provider.test': ['192.0.2.1'],
          'ns2.provider.test': ['192.0.2.2'],
        },
        get records() {
          if (options.frozen !== undefined) return options.frozen;
          const held = fake.store.of(zone).filter(({ type }) => type !== 'NS');
          return held.map(({ name, ttlSec, type, value }) => `${name} ${ttlSec} ${type} ${value}`);
        },
      },
    },
    ...options.table,
  };
  const context = testContext(fake.baseUrl);
  return {
    lookup: { exchange: tableExchange(table), resolvers: [tableResolver] },
    provider: {
      ...context,
      // Time passes only while somebody waits.
      sleep: async (ms, signal) => {
        signal.throwIfAborted();
        time += ms;
      },
    },
    now: () => time,
  };
}
