/**
 * TXT records that prove a domain to a certificate authority (RFC 8555 §8.4, dns-01): put beside what is
 * there, waited for, and taken away alone. A `_acme-challenge` that is a CNAME is followed, so that the right
 * to change it can be had in another zone.
 *
 * Providers know no "add one value": between reading and writing, somebody else's change of the same record
 * set would be lost. Our own are made one after the other.
 */
import { txtValue } from '../contract/dns-records.ts';
import type { DnsAccess } from './access.ts';
import { findDelegation, type LookupContext, resolveName } from './delegation.ts';
import { normaliseName } from './name.ts';
import { type HeldRecordSet, ProviderError, type Zone } from './provider.ts';
import { waitUntilAnswered } from './push.ts';

export interface DnsChallenges {
  /**
   * Publishes `value` at `name` (`_acme-challenge.chat.example.org`); resolves when every authoritative
   * server that answers has it.
   * @throws ProviderError, LookupError; 'unavailable' when it is not seen in time
   */
  present(name: string, value: string, signal: AbortSignal): Promise<void>;
  /**
   * Takes that value away again, and no other. One that is gone is no error.
   * @throws ProviderError, LookupError
   */
  remove(name: string, value: string, signal: AbortSignal): Promise<void>;
}

/** Secondaries of the providers here follow within a minute or two. */
const visibleTimeoutMs = 5 * 60_000;
/** Nobody should remember it: the authority asks afresh. Raised by providers with a minimum. */
const challengeTtlSec = 60;
/** Longer chains are loops or mistakes; resolvers stop at about as many. */
const maxAliases = 8;

export function createDnsChallenges(access: DnsAccess): DnsChallenges {
  const { provider } = access;
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const next = last.then(work, work);
    last = next.catch(() => {});
    return next;
  };

  /** The TXT set at `name`, and the zone it is in. */
  const read = async (name: string, signal: AbortSignal): Promise<{ zone: Zone; set: HeldRecordSet }> => {
    const zone = await provider.findZone(name, { signal });
    const held = await provider.list(zone, [name], { signal });
    const found = held.find((set) => set.name === name && set.type === 'TXT');
    return { zone, set: found ?? { name, type: 'TXT', ttlSec: challengeTtlSec, values: [] } };
  };

  return {
    present: async (name, value, signal) => {
      const context: LookupContext = { ...access.lookup, signal };
      const at = await endOfAliases(normaliseName(name), context);
      const text = txtValue(value);
      await inTurn(async () => {
        const { zone, set } = await read(at, signal);
        if (set.values.includes(text)) return;
        await provider.upsert(zone, [{ ...set, values: [...set.values, text] }], { signal });
      });
      const seen = await waitUntilAnswered(
        await findDelegation(at, context),
        [{ name: at, type: 'TXT' }],
        (_, { values }) => values.includes(text),
        context,
        { timeoutMs: visibleTimeoutMs, sleep: access.sleep, now: access.now },
      );
      if (seen.visible) return;
      const where = seen.waitingFor.slice(0, 3).join('; ');
      throw new ProviderError(
        'unavailable',
        `The record is published, but not seen after ${visibleTimeoutMs / 60_000} minutes: waiting for ${where}`,
        { fix: '"dns check" says what is wrong with the name servers' },
      );
    },

    remove: async (name, value, signal) => {
      const at = await endOfAliases(normaliseName(name), { ...access.lookup, signal });
      const text = txtValue(value);
      await inTurn(async () => {
        const { zone, set } = await read(at, signal);
        if (!set.values.includes(text)) return;
        const values = set.values.filter((one) => one !== text);
        if (values.length === 0) await provider.delete(zone, [set], { signal });
        else await provider.upsert(zone, [{ ...set, values }], { signal });
      });
    },
  };
}

/** Where the CNAMEs at `name` lead; `name` itself when there is none. */
async function endOfAliases(name: string, context: LookupContext): Promise<string> {
  let at = name;
  for (let followed = 0; followed <= maxAliases; followed++) {
    const { answers } = await resolveName(at, 'CNAME', context);
    const alias = answers.find((record) => record.type === 'CNAME' && record.name === at);
    if (alias === undefined) return at;
    at = normaliseName(alias.value);
  }
  throw new ProviderError(
    'conflict',
    `${name} is a CNAME that leads through more than ${maxAliases} others`,
    {
      fix: `Let ${name} lead to the name with the record directly`,
    },
  );
}
