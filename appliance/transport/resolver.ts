/**
 * A stub resolver that also says whether the answer was validated: it asks the unbound on this machine and
 * believes its AD bit (RFC 6840 §5.7), which it may, since the way there is loopback.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { type Exchange, exchange as askServer, type NameServer, NoAnswerError } from '../dns/exchange.ts';
import { classes, ednsRecord, emptyMessage, rcodeNames, rcodes } from '../dns/message.ts';
import { tokenise } from '../dns/presentation.ts';

export interface DnsAnswer {
  /** `no-name`: the name does not exist; `no-data`: it does, without records of this type. */
  readonly kind: 'records' | 'no-data' | 'no-name';
  /** RDATA in presentation form, in the order of the answer. */
  readonly values: readonly string[];
  /** The name that owns the records, after CNAMEs: lower-case, without final dot. */
  readonly owner: string;
  /** DNSSEC validated all of it, or the proof that there is nothing. */
  readonly isSecure: boolean;
}

/** The lookup failed: a server does not answer, or what it says is bogus. Another try may do better. */
export class DnsFailureError extends Error {
  override name = 'DnsFailureError';
  readonly code = 'dns-failure';
}

export interface MailResolver {
  /** @throws DnsFailureError, or the signal's reason */
  query(name: string, type: 'MX' | 'A' | 'AAAA' | 'TLSA' | 'TXT', signal: AbortSignal): Promise<DnsAnswer>;
}

/** unbound itself gives up after about as long. */
const timeoutMs = 10_000;
/** As unbound, which answers CNAMEs chained. */
const maxChain = 12;

export function createResolver(server: NameServer, exchange: Exchange = askServer): MailResolver {
  return {
    async query(name, type, signal) {
      const asked = name.toLowerCase().replace(/\.$/, '');
      const query = {
        ...emptyMessage,
        recursionDesired: true,
        // In a query: tell me whether it is authentic (RFC 6840 §5.7).
        authenticData: true,
        questions: [{ name: asked, type, class: classes.in }],
        additionals: [ednsRecord()],
      };
      const reply = await exchange(server, query, { signal, timeoutMs }).catch((error: unknown) => {
        if (!(error instanceof NoAnswerError) && !(error instanceof RangeError)) throw error;
        throw new DnsFailureError(error.message, { cause: error });
      });
      if (reply.rcode !== rcodes.noError && reply.rcode !== rcodes.nxDomain) {
        const rcode = rcodeNames[reply.rcode] ?? `rcode ${reply.rcode}`;
        throw new DnsFailureError(`The lookup of ${asked} ${type} ended in ${rcode}`);
      }
      let owner = asked;
      for (let step = 0; step < maxChain; step++) {
        const next = reply.answers.find((record) => record.type === 'CNAME' && record.name === owner);
        if (next === undefined) break;
        owner = next.value.toLowerCase().replace(/\.$/, '');
      }
      const values = reply.answers
        .filter((record) => record.type === type && record.name === owner)
        .map(({ value }) => value);
      const isSecure = reply.authenticData;
      if (values.length > 0) return { kind: 'records', values, owner, isSecure };
      return { kind: reply.rcode === rcodes.nxDomain ? 'no-name' : 'no-data', values, owner, isSecure };
    },
  };
}

/** TXT records, each with its strings joined; none where there are none. @throws DnsFailureError */
export async function lookupTxt(
  resolver: MailResolver,
  name: string,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { values } = await resolver.query(name, 'TXT', signal);
  return values.map((value) =>
    tokenise(value)
      .map(({ bytes }) => Buffer.from(bytes).toString('latin1'))
      .join(''),
  );
}

export interface HostAddresses {
  /** IPv6 first, as RFC 6724 has it; a connection races them anyway. */
  readonly addresses: readonly string[];
  readonly isSecure: boolean;
  /** The name after CNAMEs. */
  readonly owner: string;
}

/** Addresses of a mail host, both families. @throws DnsFailureError when neither can be looked up */
export async function lookupAddresses(
  resolver: MailResolver,
  host: string,
  signal: AbortSignal,
): Promise<HostAddresses> {
  const answers = await Promise.allSettled([
    resolver.query(host, 'AAAA', signal),
    resolver.query(host, 'A', signal),
  ]);
  signal.throwIfAborted();
  const found = answers.filter((answer) => answer.status === 'fulfilled').map(({ value }) => value);
  const addresses = found
    .flatMap(({ values }) => values)
    .filter((address) => isIPv4(address) || isIPv6(address));
  const failure = answers.find((answer) => answer.status === 'rejected');
  // A name server that fails for one family must not keep mail from the other.
  if (addresses.length === 0 && failure !== undefined) throw failure.reason;
  return {
    addresses,
    isSecure: failure === undefined && found.every(({ isSecure }) => isSecure),
    owner: found.find(({ kind }) => kind === 'records')?.owner ?? host,
  };
}
