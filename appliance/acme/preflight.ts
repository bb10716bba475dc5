/**
 * What our own resolver says before the authority is asked: a name that leads nowhere would only use up the
 * few failures that authorities allow. Whether an address is our own cannot be seen from here (routers
 * translate), so names under the domain count as here when they lead where the domain itself leads.
 */
import { Resolver } from 'node:dns/promises';
import { systemCode } from '../base/errors.ts';

export type LookUp =
  | { readonly kind: 'found'; readonly addresses: readonly string[] }
  /** The name does not exist, or has no address. */
  | { readonly kind: 'none' }
  /** Nobody could be asked. */
  | { readonly kind: 'failed'; readonly reason: string };

/** Addresses of a name, IPv4 and IPv6, CNAMEs followed. */
export type LookUpAddresses = (name: string, signal: AbortSignal) => Promise<LookUp>;

const timeoutMs = 5000;
const tries = 2;

/** Asks the machine's resolver, or the name servers given. */
export function createLookUp(servers?: readonly string[]): LookUpAddresses {
  return async (name, signal) => {
    signal.throwIfAborted();
    const resolver = new Resolver({ timeout: timeoutMs, tries });
    if (servers !== undefined) resolver.setServers(servers);
    const stop = () => resolver.cancel();
    signal.addEventListener('abort', stop, { once: true });
    try {
      return combine(await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]));
    } finally {
      signal.removeEventListener('abort', stop);
      signal.throwIfAborted();
    }
  };
}

function combine(results: readonly PromiseSettledResult<string[]>[]): LookUp {
  const addresses = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
  if (addresses.length > 0) return { kind: 'found', addresses };
  for (const result of results) {
    if (result.status !== 'rejected') continue;
    const code = systemCode(result.reason) ?? 'UNKNOWN';
    // c-ares: the name is not there, or has no record of this type.
    if (code !== 'ENOTFOUND' && code !== 'ENODATA') return { kind: 'failed', reason: code };
  }
  return { kind: 'none' };
}

/**
 * Names of `extras` that lead where the domain leads.
 * @param kept those that stay when they cannot be looked up: what the certificate in use has
 */
export async function findExtraNames(
  domainLookUp: LookUp,
  extras: readonly string[],
  kept: readonly string[],
  lookUp: LookUpAddresses,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const found = await Promise.all(
    extras.map(async (extra) => ({ extra, answer: await lookUp(extra, signal) })),
  );
  return found.flatMap(({ extra, answer }) => (leadsHere(extra, answer, domainLookUp, kept) ? [extra] : []));
}

function leadsHere(extra: string, answer: LookUp, domain: LookUp, kept: readonly string[]): boolean {
  if (answer.kind === 'none') return false;
  if (answer.kind === 'failed' || domain.kind !== 'found') return kept.includes(extra);
  return answer.addresses.some((address) => domain.addresses.includes(address));
}
