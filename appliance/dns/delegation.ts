/**
 * Who serves a domain: its zone, the zone's name servers as the world finds them, what the parent delegates
 * to, and whether DNSSEC holds. Asks resolvers for the way, never the SOA's primary, which may be hidden.
 */
import { type Exchange, type NameServer, NoAnswerError } from './exchange.ts';
import { classes, ednsRecord, emptyMessage, type Message, rcodes, rcodeNames } from './message.ts';
import { isWithin, withParents } from './name.ts';

export interface LookupContext {
  readonly exchange: Exchange;
  /** Recursive resolvers, tried in turn. */
  readonly resolvers: readonly NameServer[];
  /** Of authoritative servers; other than 53 only in tests and behind odd firewalls. */
  readonly authoritativePort?: number | undefined;
  readonly signal: AbortSignal;
}

export type LookupErrorCode = 'no-resolver' | 'not-delegated' | 'dnssec-bogus' | 'servers-fail';

/** Nothing can be said about a domain's records, because its zone can't be reached at all. */
export class LookupError extends Error {
  override name = 'LookupError';
  readonly code: LookupErrorCode;
  readonly fix: string;
  constructor(code: LookupErrorCode, message: string, fix: string) {
    super(message);
    this.code = code;
    this.fix = fix;
  }
}

export interface AuthoritativeServer {
  /** Host name in the NS record. */
  readonly name: string;
  readonly address: string;
}

export interface ZoneDelegation {
  readonly zone: string;
  /** One entry for each address of each name server. */
  readonly servers: readonly AuthoritativeServer[];
  /** Names in NS records that have no address. */
  readonly unresolvable: readonly string[];
  /** NS names in the zone itself, sorted. */
  readonly zoneNames: readonly string[];
  /** NS names in the parent, sorted; null when the parent's servers can't be asked. */
  readonly parentNames: readonly string[] | null;
  readonly dnssec: 'unsigned' | 'secure' | 'signed';
  /** SOA minimum: how long resolvers remember that a record is missing (RFC 2308 §5). */
  readonly negativeTtlSec: number;
}

const lookupTimeoutMs = 4000;

/**
 * Asks the resolvers in turn until one gives an answer or says that there is none.
 * @returns the best reply there is: SERVFAIL only when no resolver did better
 * @throws LookupError 'no-resolver'
 */
export async function resolveName(
  name: string,
  type: string,
  context: LookupContext,
  options: { readonly unchecked?: boolean } = {},
): Promise<Message> {
  let worst: Message | undefined;
  let problem = 'there is none';
  for (const resolver of context.resolvers) {
    try {
      const reply = await context.exchange(resolver, recursiveQuery(name, type, options.unchecked), {
        signal: context.signal,
        timeoutMs: lookupTimeoutMs,
        attempts: 2,
      });
      if (reply.rcode === rcodes.noError || reply.rcode === rcodes.nxDomain) return reply;
      worst ??= reply;
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
      problem = error.message;
    }
  }
  if (worst !== undefined) return worst;
  // A resolver whose own questions go unanswered is silent longer than we wait: is it there at all?
  if (name !== '' && (await anyResolverAnswers(context))) throw serversFail(name, rcodes.servFail);
  throw new LookupError(
    'no-resolver',
    `No DNS resolver answers this machine: ${problem}`,
    'Check the network, or name a resolver that answers with --resolver',
  );
}

async function anyResolverAnswers(context: LookupContext): Promise<boolean> {
  return resolveName('', 'NS', context).then(
    () => true,
    (error: unknown) => {
      if (error instanceof LookupError) return false;
      throw error;
    },
  );
}

/** `unchecked` sets CD: a resolver then answers even when it finds the signatures wrong (RFC 4035 §3.2.2). */
export function recursiveQuery(name: string, type: string, unchecked = false): Message {
  return {
    ...emptyMessage,
    recursionDesired: true,
    authenticData: true,
    checkingDisabled: unchecked,
    questions: [{ name, type, class: classes.in }],
    additionals: [ednsRecord()],
  };
}

export function directQuery(name: string, type: string): Message {
  return {
    ...emptyMessage,
    questions: [{ name, type, class: classes.in }],
    additionals: [ednsRecord()],
  };
}

/**
 * @throws LookupError when the domain is in no zone that answers
 */
export async function findDelegation(domainName: string, context: LookupContext): Promise<ZoneDelegation> {
  const { zone, negativeTtlSec } = await findZoneName(domainName, context);
  await refuseBogus(zone, context);
  const reply = await resolveName(zone, 'NS', context, { unchecked: true });
  const zoneNames = namesOf(reply, 'NS', zone);
  const addresses = await Promise.all(zoneNames.map((name) => addressesOf(name, context)));
  const servers = zoneNames.flatMap((name, index) =>
    (addresses[index] ?? []).map((address) => ({ name, address })),
  );
  if (servers.length === 0) {
    throw new LookupError(
      'servers-fail',
      `The name servers of ${zone} (${zoneNames.join(', ') || 'none'}) have no addresses`,
      'Correct the name servers at the registrar of the domain',
    );
  }
  const [parentNames, signed, secure] = await Promise.all([
    findParentNames(zone, context),
    resolveName(zone, 'DS', context).then((ds) => ds.answers.some((record) => record.type === 'DS')),
    resolveName(zone, 'SOA', context).then((soa) => soa.authenticData),
  ]);
  return {
    zone,
    servers,
    unresolvable: zoneNames.filter((_, index) => (addresses[index] ?? []).length === 0),
    zoneNames,
    parentNames,
    dnssec: signed ? (secure ? 'secure' : 'signed') : 'unsigned',
    negativeTtlSec,
  };
}

/** The zone a name is in: the owner of the SOA that any answer about it carries (RFC 2308 §2). */
async function findZoneName(domainName: string, context: LookupContext) {
  const reply = await resolveName(domainName, 'SOA', context, { unchecked: true });
  // Behind a CNAME the SOA may be of the target's zone; then the name above tells.
  for (const record of [...reply.answers, ...reply.authorities]) {
    if (record.type !== 'SOA' || !isWithin(domainName, record.name)) continue;
    if (!record.name.includes('.')) break;
    return { zone: record.name, negativeTtlSec: negativeTtl(record.value, record.ttlSec) };
  }
  const [parent] = withParents(domainName).slice(1);
  const aliased = reply.answers.some((record) => record.type === 'CNAME');
  if (aliased && parent !== undefined) return findZoneName(parent, context);
  if (reply.rcode === rcodes.noError || reply.rcode === rcodes.nxDomain) {
    throw new LookupError(
      'not-delegated',
      `${withParents(domainName).at(-1) ?? domainName} does not exist in DNS (${rcodeNames[reply.rcode] ?? ''})`,
      'Check the spelling, register the domain, or name its name servers at the registrar',
    );
  }
  throw serversFail(domainName, reply.rcode);
}

function serversFail(name: string, rcode: number): LookupError {
  return new LookupError(
    'servers-fail',
    `Resolvers get no answer about ${name} (${rcodeNames[rcode] ?? rcode}): its name servers are down, or do not serve it`,
    'Look at the name servers: are they the ones of your DNS provider, and is the zone there?',
  );
}

function negativeTtl(soa: string, ttlSec: number): number {
  return Math.min(Number(soa.split(' ')[6] ?? ttlSec), ttlSec);
}

/** SERVFAIL that goes away with checking disabled means wrong signatures (RFC 4035 §5.5). */
async function refuseBogus(zone: string, context: LookupContext): Promise<void> {
  const checked = await resolveName(zone, 'SOA', context);
  if (checked.rcode !== rcodes.servFail) return;
  const unchecked = await resolveName(zone, 'SOA', context, { unchecked: true });
  if (unchecked.rcode !== rcodes.noError) throw serversFail(zone, unchecked.rcode);
  throw new LookupError(
    'dnssec-bogus',
    `The DNSSEC signatures of ${zone} are wrong, so resolvers that check them refuse all of it`,
    'Take the DS record out at the registrar, or have the DNS provider sign the zone with the key it names',
  );
}

function namesOf(reply: Message, type: string, owner: string): string[] {
  return [...reply.answers, ...reply.authorities]
    .filter((record) => record.type === type && record.name === owner)
    .map((record) => record.value.replace(/\.$/, ''))
    .sort();
}

/** All addresses of a name, IPv4 first; empty when it has none. */
export async function addressesOf(name: string, context: LookupContext): Promise<readonly string[]> {
  const replies = await Promise.all(
    ['A', 'AAAA'].map((type) => resolveName(name, type, context, { unchecked: true })),
  );
  return replies.flatMap((reply, index) =>
    reply.answers.filter(({ type }) => type === (index === 0 ? 'A' : 'AAAA')).map(({ value }) => value),
  );
}

/** Asks a server of the parent zone itself, since resolvers answer with the child's NS. */
async function findParentNames(zone: string, context: LookupContext): Promise<readonly string[] | null> {
  const parent = zone.split('.').slice(1).join('.');
  const found = await resolveName(parent, 'NS', context, { unchecked: true });
  // The parent name may lie inside the parent zone: then the SOA beside the empty answer names that zone.
  const parentZone = found.authorities.find(({ type }) => type === 'SOA')?.name ?? parent;
  const reply =
    parentZone === parent ? found : await resolveName(parentZone, 'NS', context, { unchecked: true });
  for (const name of namesOf(reply, 'NS', parentZone).slice(0, 3)) {
    for (const address of (await addressesOf(name, context)).slice(0, 1)) {
      try {
        const server = authoritativeServer(address, context);
        const options = { signal: context.signal, timeoutMs: lookupTimeoutMs, attempts: 1 };
        const referral = await context.exchange(server, directQuery(zone, 'NS'), options);
        const names = namesOf(referral, 'NS', zone);
        if (names.length > 0) return names;
      } catch (error) {
        if (!(error instanceof NoAnswerError)) throw error;
      }
    }
  }
  return null;
}

export function authoritativeServer(address: string, context: LookupContext): NameServer {
  return context.authoritativePort === undefined ? { address } : { address, port: context.authoritativePort };
}
