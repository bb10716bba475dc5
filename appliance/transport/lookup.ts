/** Node's `lookup` for connections, by our own resolver. */
import { isIPv6, type LookupFunction } from 'node:net';
import { lookupAddresses, type MailResolver } from './resolver.ts';
import { isOwnAddress } from './route.ts';

/** Leads to addresses that are known already. */
export function lookupKnown(addresses: readonly string[]): LookupFunction {
  const all = addresses.map((address) => ({ address, family: isIPv6(address) ? 6 : 4 }));
  return (_, options, callback) => {
    const [first] = all;
    if (options.all === true) callback(null, all);
    else callback(null, first?.address ?? '', first?.family ?? 4);
  };
}

const lookupTimeoutMs = 20_000;

/** Leads anywhere but to this machine. */
export function lookupElsewhere(resolver: MailResolver): LookupFunction {
  return (name, options, callback) => {
    lookupAddresses(resolver, name, AbortSignal.timeout(lookupTimeoutMs)).then(
      ({ addresses }) => {
        const others = addresses.filter((address) => !isOwnAddress(address));
        if (others.length === 0) callback(new Error(`${name} has no address`), []);
        else lookupKnown(others)(name, options, callback);
      },
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), []),
    );
  };
}
