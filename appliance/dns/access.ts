/**
 * The device's right to change records at its DNS provider: `dns.provider` of the configuration with the
 * credentials on DATA. The provider's code is loaded only where one is named.
 */
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import { readTextIfPresent } from '../base/atomic-file.ts';
import { ConfigError } from '../base/errors.ts';
import type { Config } from '../contract/config.ts';
import { ports } from '../contract/ports.ts';
import type { LookupContext } from './delegation.ts';
import { exchange } from './exchange.ts';
import type { DnsProvider, ProviderContext } from './provider.ts';

export interface DnsAccess {
  readonly provider: DnsProvider;
  readonly lookup: Omit<LookupContext, 'signal'>;
  readonly sleep: ProviderContext['sleep'];
  /** Milliseconds of a clock that only goes forward. */
  readonly now: () => number;
}

const credentialsSchema = v.record(v.string(), v.string());

/**
 * Reads the credentials and makes the provider's client. Asks nobody yet.
 * @returns null where the configuration names no provider
 * @throws ConfigError when the credentials are missing or incomplete
 */
export async function openDnsAccess({
  config,
  credentialsPath,
}: {
  readonly config: Pick<Config, 'dns' | 'domain'>;
  readonly credentialsPath: string;
}): Promise<DnsAccess | null> {
  const name = config.dns.provider;
  // Names only: nobody looks up anything about a relay at an address.
  if (name === '' || config.domain.kind === 'ip') return null;
  const credentials = parseCredentials((await readTextIfPresent(credentialsPath)) ?? '{}');
  const { providers } = await import('./providers/index.ts');
  const definition = providers.find((one) => one.name === name);
  if (definition === undefined) throw new RangeError(`There is no DNS provider ${name}`);
  const missing = definition.credentials.filter(
    ({ variable, optional }) => optional !== true && (credentials[variable] ?? '').trim() === '',
  );
  if (missing.length > 0) {
    throw new ConfigError(
      'secrets.dnsCredentials',
      `The device lacks ${missing.map(({ variable }) => variable).join(', ')} for ${definition.title}`,
      'Put it into secrets.dnsCredentials of chatmail.json on the BOOT partition, or set dns.provider to ""',
    );
  }
  const sleep: ProviderContext['sleep'] = async (ms, signal) => {
    await delay(ms, undefined, { signal });
  };
  const context = { fetch: globalThis.fetch, clock: () => new Date(), sleep };
  return {
    provider: await definition.create(credentials, context),
    // The device's own resolver, which checks DNSSEC.
    lookup: { exchange, resolvers: [{ address: '127.0.0.1', port: ports.dns }] },
    sleep,
    now: () => performance.now(),
  };
}

/** The file is ours: what is wrong with it is damage, and the same as nothing. */
function parseCredentials(text: string): Readonly<Record<string, string>> {
  try {
    return v.parse(credentialsSchema, JSON.parse(text));
  } catch {
    return {};
  }
}
