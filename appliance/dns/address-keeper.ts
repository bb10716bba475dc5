/**
 * Keeps the relay's A and AAAA records at the addresses the machine has: looks, compares with what the
 * authoritative servers say, and changes a record when address-plan.ts says so. Runs until stopped; what goes
 * wrong is remembered for the status, logged once, and tried again.
 */
import { isIPv4 } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../contract/config.ts';
import { changingAddressTtlSec } from '../contract/dns-records.ts';
import type { DnsAccess } from './access.ts';
import {
  type AddressDecision,
  type AddressState,
  type AddressType,
  addressTypes,
  confirmedAddress,
  decide,
  initialState,
  nextLookMs,
  type PublishedAddresses,
  withChange,
  withFailure,
  withSighting,
} from './address-plan.ts';
import { findDelegation, type LookupContext, type ZoneDelegation } from './delegation.ts';
import { askRouter, readRouter } from './nat-pmp.ts';
import { askOutside } from './outside-address.ts';
import { type OwnAddresses, readOwnAddresses } from './own-addresses.ts';
import { ProviderError } from './provider.ts';
import { isPublicAddress } from '../contract/public-address.ts';
import { questionKey, viewServers } from './survey.ts';

/** Where the machine's addresses are learnt; each is asked only when the one before knows none. */
export interface AddressSources {
  readonly own: () => Promise<OwnAddresses>;
  /** The router's outer IPv4 address; null when it does not say. */
  readonly router: (signal: AbortSignal) => Promise<string | null>;
  /** The IPv4 address others see; null when they do not agree. */
  readonly outside: (signal: AbortSignal) => Promise<string | null>;
}

export interface AddressKeeperOptions {
  readonly access: DnsAccess;
  readonly domainName: string;
  /** A family that is off is left alone. */
  readonly network: Pick<Config['network'], 'ipv4' | 'ipv6'>;
  readonly clock: Pick<Clock, 'monotonicMs' | 'sleep'>;
  readonly log: Log;
  /** Default: the machine's own. */
  readonly sources?: AddressSources;
}

export interface AddressKeeperStatus {
  /** Seen long enough to be believed; null when not. */
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  /** Why the records are not as they should be, in words for people; null when they are. */
  readonly problem: string | null;
}

export interface AddressKeeper {
  /** Resolves when `signal` fires; never rejects because of the world. */
  run(signal: AbortSignal): Promise<void>;
  status(): AddressKeeperStatus;
}

/** The name servers of a domain rarely change. */
const delegationLifeMs = 60 * 60_000;

export function machineSources(access: Pick<DnsAccess, 'lookup'>): AddressSources {
  return {
    own: readOwnAddresses,
    router: async (signal) => {
      const address = await readRouter();
      return address === null ? null : askRouter({ address }, signal);
    },
    outside: (signal) => askOutside(access.lookup.exchange, signal),
  };
}

export function createAddressKeeper(options: AddressKeeperOptions): AddressKeeper {
  const { access, domainName, network, clock, log, sources = machineSources(options.access) } = options;
  const now = () => clock.monotonicMs();
  let state: AddressState = initialState(now());
  let problem: string | null = null;
  let delegation: { readonly value: ZoneDelegation; readonly readMs: number } | undefined;

  const setProblem = (text: string | null): void => {
    if (text !== null && text !== problem) log.warn('addresses not published', { reason: text });
    problem = text;
  };

  const readPublished = async (context: LookupContext): Promise<PublishedAddresses> => {
    if (delegation === undefined || now() - delegation.readMs > delegationLifeMs) {
      delegation = { value: await findDelegation(domainName, context), readMs: now() };
    }
    const questions = addressTypes.map((type) => ({ name: domainName, type }));
    const views = await viewServers(delegation.value, questions, context);
    const valuesOf = (type: AddressType): readonly string[] | null => {
      const answers = views.flatMap(
        ({ answers: all }) => all.get(questionKey({ name: domainName, type })) ?? [],
      );
      return answers.length === 0 ? null : [...new Set(answers.flatMap(({ values }) => values))];
    };
    return { A: valuesOf('A'), AAAA: valuesOf('AAAA') };
  };

  const seenIpv4 = async (own: OwnAddresses, published: readonly string[], signal: AbortSignal) => {
    if (network.ipv4 === 'off') return null;
    const onInterface = own.ipv4.find((address) => published.includes(address)) ?? own.ipv4[0];
    if (onInterface !== undefined) return onInterface;
    const router = await sources.router(signal);
    // A router behind another one has no public address either.
    if (router !== null && isIPv4(router) && isPublicAddress(router)) return router;
    return sources.outside(signal);
  };

  const look = async (signal: AbortSignal): Promise<readonly AddressDecision[]> => {
    const published = await readPublished({ ...access.lookup, signal });
    const own = await sources.own();
    // Of several that would do, the one that is published already.
    const ipv6 = own.ipv6.find((address) => published.AAAA?.includes(address) === true) ?? own.ipv6[0];
    const seen = {
      A: await seenIpv4(own, published.A ?? [], signal),
      AAAA: network.ipv6 === 'off' ? null : (ipv6 ?? null),
    };
    state = withSighting(state, seen, now());
    const decisions: AddressDecision[] = [];
    let found: string | null = null;
    for (const type of addressTypes) {
      const decision = decide(state, type, published, now());
      decisions.push(decision);
      if (decision.kind === 'publish') found = (await publish(type, decision.address, signal)) ?? found;
      else if (decision.kind === 'ambiguous') found = severalText(type, decision.address);
      // What made it wait is still the problem.
      else if (decision.kind === 'wait') found = problem ?? found;
    }
    setProblem(found);
    return decisions;
  };

  const severalText = (type: AddressType, address: string) =>
    `${domainName} has several ${type} records, and none of them is ${address}: remove those that are not the relay's`;

  /** @returns why it was not done, when a person has to do something */
  const publish = async (type: AddressType, address: string, signal: AbortSignal): Promise<string | null> => {
    const { provider } = access;
    const zone = await provider.findZone(domainName, { signal });
    const held = await provider.list(zone, [domainName], { signal });
    const set = held.find((one) => one.name === domainName && one.type === type);
    if (set?.altered !== undefined) {
      return `The provider answers for ${domainName} ${type} with something else (${set.altered}): "dns push --replace" makes it a plain record`;
    }
    if ((set?.values.length ?? 0) > 1) {
      // Ours may be among them, and not be seen everywhere yet.
      return set?.values.includes(address) === true ? null : severalText(type, address);
    }
    if (set?.values[0] !== address) {
      const values = [address];
      await provider.upsert(zone, [{ name: domainName, type, ttlSec: changingAddressTtlSec, values }], {
        signal,
      });
      log.info('address published', { type, address });
    }
    state = withChange(state, type, now());
    return null;
  };

  return {
    run: async (signal) => {
      while (!signal.aborted) {
        let decisions: readonly AddressDecision[] = [];
        try {
          decisions = await look(signal);
        } catch (error) {
          if (signal.aborted) return;
          // Asked anew next time: the name servers may be others by then.
          delegation = undefined;
          if (error instanceof ProviderError) state = withFailure(state, now());
          setProblem(messageOf(error));
        }
        await clock.sleep(nextLookMs(state, decisions, now()), signal).catch(() => {});
      }
    },
    status: () => ({
      ipv4: confirmedAddress(state, 'A', now()),
      ipv6: confirmedAddress(state, 'AAAA', now()),
      problem,
    }),
  };
}
