/**
 * What a DNS provider's interface does for us, and nothing more. One conformance suite
 * (test/appliance/dns/providers) holds every provider to these words.
 *
 * The unit is the record set: all records of one type at one name. A name is absolute, lower-case, without
 * the final dot; values are presentation form with absolute host names (contract/dns-records.ts).
 *
 * In the zone
 *     chat.example.org. 3600 IN TXT "v=spf1 a ~all"
 *     chat.example.org. 3600 IN TXT "other=1"
 *     chat.example.org. 3600 IN MX  10 chat.example.org.
 * an upsert of { chat.example.org, TXT, ['"other=1"'] } leaves the one TXT record and the MX record.
 *
 * Every verb
 *  - stops at `signal`, and leaves no timer or socket behind;
 *  - waits out a short rate limit, and retries what is safe to retry after a passing fault;
 *  - fails with ProviderError, whose message holds no credential;
 *  - may have done part of its work when it fails, unless the provider is `atomic`; doing it again
 *    completes it.
 */
import type { DnsProviderName } from '../contract/config.ts';
import type { RecordSet } from '../contract/dns-records.ts';

/** A record set as the provider holds it. */
export interface HeldRecordSet extends RecordSet {
  /**
   * Set when the world is answered something other than `values`, and says what: `proxied` (Cloudflare
   * answers with its own addresses), `alias` (Route 53 answers with another name's), `routed` (Route 53
   * answers one thing to one, another to another). An upsert without it makes the set a plain one.
   */
  readonly altered?: 'proxied' | 'alias' | 'routed';
}

export interface RecordSetKey {
  readonly name: string;
  readonly type: string;
}

export interface Zone {
  /** The zone's own name: `example.org` for a relay at chat.example.org. */
  readonly name: string;
  /** What the provider calls it. */
  readonly id: string;
  /** The name servers the provider says must be delegated to, where it says so. */
  readonly nameServers: readonly string[];
}

export interface CallOptions {
  readonly signal: AbortSignal;
}

export interface DnsProvider {
  /** True when one upsert or delete is done wholly or not at all. */
  readonly atomic: boolean;
  /** Types the provider can't hold. */
  readonly unsupportedTypes: readonly string[];
  /** TTLs below it are raised to it in an upsert. */
  readonly minimumTtlSec: number;

  /**
   * The zone that holds `name`: the one with the longest name that the credentials reach.
   * @throws ProviderError 'zone-not-found'
   */
  findZone(name: string, options: CallOptions): Promise<Zone>;

  /**
   * Every record set at exactly these names (not below them), of every type the provider shows, however
   * many pages that takes. Names without records are simply missing. Values are canonical and sorted.
   */
  list(zone: Zone, names: readonly string[], options: CallOptions): Promise<readonly HeldRecordSet[]>;

  /**
   * Makes each set exactly as given: creates it, or replaces its values and TTL; other types at the name
   * stay. Where records are changed one by one, a value that stays is not touched, and new values come
   * before old ones go. An empty set is a RangeError.
   * @throws ProviderError 'conflict' where a CNAME stands in the way
   */
  upsert(zone: Zone, sets: readonly HeldRecordSet[], options: CallOptions): Promise<void>;

  /** Removes whole sets. One that does not exist is no error. */
  delete(zone: Zone, keys: readonly RecordSetKey[], options: CallOptions): Promise<void>;
}

export type ProviderErrorCode =
  /** The credentials are not known. */
  | 'wrong-credentials'
  /** The credentials are known, but may not do this. */
  | 'not-allowed'
  | 'zone-not-found'
  | 'rate-limited'
  /** Down, slow, or not reachable from here. */
  | 'unavailable'
  /** A record of another type stands in the way. */
  | 'conflict'
  /** The provider does not take this record. */
  | 'rejected'
  /** An answer we do not understand. */
  | 'unexpected';

const fixes: Readonly<Record<ProviderErrorCode, string>> = {
  'wrong-credentials': 'Make a new token in the control panel of your DNS provider and give that one',
  'not-allowed': 'Give the token the right to read and write DNS records of this zone',
  'zone-not-found':
    'Check that the domain is in this account, and that the token may see it; "dns check" says which provider serves the domain',
  'rate-limited': 'Wait, then run the command again: it goes on where it stopped',
  unavailable: 'Check the connection and run the command again: it goes on where it stopped',
  conflict: 'Remove the record in the way, or let "dns push --replace" do it',
  rejected: 'Enter this record by hand, or leave it out',
  unexpected: 'Run the command again; if it stays, report it with the text above',
};

/** A provider did not do what was asked. The message names the provider and holds no credential. */
export class ProviderError extends Error {
  override name = 'ProviderError';
  readonly code: ProviderErrorCode;
  readonly fix: string;
  constructor(code: ProviderErrorCode, message: string, options?: ErrorOptions & { fix?: string }) {
    super(message, options);
    this.code = code;
    this.fix = options?.fix ?? fixes[code];
  }
}

/** One thing the operator must give before a provider can be used. */
export interface Credential {
  /** The environment variable, as the provider's own tools or lego call it. */
  readonly variable: string;
  readonly title: string;
  /** Secrets are never echoed and never read from the command line. */
  readonly secret: boolean;
  readonly optional?: boolean;
}

/** The outside world of a provider, handed in. */
export interface ProviderContext {
  readonly fetch: typeof fetch;
  readonly clock: () => Date;
  /** Resolves after `ms`, or rejects when aborted. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** In place of the provider's own address: for tests and private installations. */
  readonly baseUrl?: string;
}

export interface ProviderDefinition {
  /** What `--provider` and `dns.provider` take. */
  readonly name: DnsProviderName;
  readonly title: string;
  readonly credentials: readonly Credential[];
  /** Where the operator gets a token, and the rights it needs. */
  readonly instructions: string;
  /** The names of the provider's name servers, to recognise a domain it serves. */
  readonly nameServerPattern?: RegExp;
  /** @throws RangeError when a credential that is not optional is missing */
  create(credentials: Readonly<Record<string, string>>, context: ProviderContext): Promise<DnsProvider>;
}

/**
 * The value of a required credential.
 * @throws RangeError
 */
export function requireCredential(credentials: Readonly<Record<string, string>>, variable: string): string {
  const value = credentials[variable]?.trim();
  if (value === undefined || value === '') throw new RangeError(`The credential ${variable} is missing`);
  return value;
}
