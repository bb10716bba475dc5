/**
 * Delivery of one message to the servers of its recipients' domains: over HTTPS where they can do that, else
 * over SMTP. Every attempt ends in a reply for each recipient; what is temporary goes back to Postfix's
 * queue, which tries again and outlives a restart.
 *
 * No MTA-STS policy is fetched: a valid certificate for the name of the MX is asked for with or without one.
 * What a policy would add is which MX names are a domain's own, where DNS is not signed.
 */
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { type Domain, mailDomain } from '../contract/domain.ts';
import { isAccepted, replyOf, type SmtpReply } from '../smtp/reply.ts';
import { usableRecords } from './dane.ts';
import type { HttpsDelivery } from './https-delivery.ts';
import { createLanes } from './lanes.ts';
import { lookupKnown } from './lookup.ts';
import type { Outcome } from './outcome.ts';
import { RecentSet } from './recent-set.ts';
import { DnsFailureError, type HostAddresses, lookupAddresses, type MailResolver } from './resolver.ts';
import { findRoute, isOwnAddress, type MailHost } from './route.ts';
import {
  deliverOverSmtp,
  type SmtpAttempt,
  type SmtpDeliveryOptions,
  type TlsFailure,
} from './smtp-delivery.ts';

export interface OutgoingMessage {
  /** Empty: the null sender. */
  readonly sender: string;
  readonly recipients: readonly string[];
  /** CRLF line ends, no dots added. */
  readonly body: readonly Buffer[];
  readonly sizeBytes: number;
  /** Encrypted, whoever it is: for reports of what is wrong with certificates (RFC 8460 §3). */
  readonly toAnybody?: boolean;
}

/** One SMTP session, for the reports of RFC 8460. */
export interface TlsSession {
  /** The domain written to. */
  readonly domain: string;
  readonly host: string;
  /** The TLSA records in force, as text; none where authorities were asked. */
  readonly tlsa: readonly string[];
  readonly result: TlsFailure | 'success';
  /** Empty where no connection was made. */
  readonly sendingIp: string;
  readonly receivingIp: string;
}

export interface DeliveryOptions {
  /** Asked for each message. */
  readonly ownDomain: () => Domain;
  readonly resolver: MailResolver;
  readonly https: HttpsDelivery;
  readonly smtp: Omit<SmtpDeliveryOptions, 'localName' | 'wallMs'>;
  readonly clock: Pick<Clock, 'monotonicMs' | 'wallMs'>;
  readonly random: () => number;
  readonly log: Log;
  /** Deliveries to one domain at once, and waiting. */
  readonly perDomain: { readonly maxActive: number; readonly maxWaiting: number };
  readonly onTlsSession: (session: TlsSession) => void;
  /** @default isOwnAddress */
  readonly isForbiddenAddress?: (address: string) => boolean;
}

export type Deliver = (message: OutgoingMessage, signal: AbortSignal) => Promise<readonly SmtpReply[]>;

/** chatmail relays ask again after as long. */
const smtpOnlyMs = 30 * 60_000;
const maxSmtpOnlyDomains = 1000;

const busy = replyOf('451 4.3.2 Transport busy');
const timedOut = replyOf('451 4.4.2 The delivery took too long');

export function createDelivery(options: DeliveryOptions): Deliver {
  const lanes = createLanes(options.perDomain);
  // Other mail servers: their port 443 is asked again now and then, not for every message.
  const smtpOnly = new RecentSet({
    maxKeys: maxSmtpOnlyDomains,
    forMs: smtpOnlyMs,
    nowMs: () => options.clock.monotonicMs(),
  });

  const toDomain = async (
    domain: string,
    message: OutgoingMessage,
    signal: AbortSignal,
  ): Promise<readonly SmtpReply[]> => {
    const all = (reply: SmtpReply) => message.recipients.map(() => reply);
    try {
      using place = await lanes.enter(domain, signal);
      if (place === null) return all(busy);
      const route = await findRoute(domain, { ...options, ownDomain: options.ownDomain() }, signal);
      if (route.kind === 'refused') return all(route.reply);
      const outcome = await tryHosts(domain, route.hosts, message, signal);
      if (outcome.kind === 'replied') return outcome.replies.map(forQueue);
      return all(replyOf(`451 4.4.1 ${printable(outcome.reason)}`));
    } catch (error) {
      // Whatever it was, the time is up.
      if (signal.aborted) return all(timedOut);
      throw error;
    }
  };

  const tryHosts = async (
    domain: string,
    hosts: readonly MailHost[],
    message: OutgoingMessage,
    signal: AbortSignal,
  ): Promise<Outcome> => {
    const reasons: string[] = [];
    const ways = smtpOnly.has(domain) ? (['SMTP'] as const) : (['HTTPS', 'SMTP'] as const);
    const known = new Map<MailHost, Promise<HostAddresses | string>>();
    for (const way of ways) {
      for (const host of hosts) {
        const addresses = await (known.get(host) ?? remember(known, host, findAddresses(host, signal)));
        if (typeof addresses === 'string') {
          if (way === 'SMTP') reasons.push(`${host.name}: ${addresses}`);
          continue;
        }
        const outcome =
          way === 'HTTPS'
            ? await options.https.post(
                {
                  host: host.name,
                  needsCertificate: host.needsCertificate,
                  lookup: lookupKnown(addresses.addresses),
                },
                message,
                signal,
              )
            : await overSmtp(domain, host, addresses, message, signal);
        options.log.debug('delivery-attempt', { way, host: host.name, outcome: outcome.kind });
        if (outcome.kind === 'unavailable') {
          reasons.push(`${host.name} ${way}: ${outcome.reason}`);
          continue;
        }
        if (way === 'SMTP' && outcome.kind === 'replied' && outcome.replies.some(isAccepted)) {
          smtpOnly.add(domain);
        }
        return outcome.kind === 'replied'
          ? outcome
          : { kind: 'unanswered', reason: `${host.name} ${way}: ${outcome.reason}` };
      }
    }
    return { kind: 'unavailable', reason: reasons.join('; ') };
  };

  /** A text says why there are none. */
  const findAddresses = async (host: MailHost, signal: AbortSignal): Promise<HostAddresses | string> => {
    const { isForbiddenAddress = isOwnAddress } = options;
    try {
      const found =
        host.address === undefined
          ? await lookupAddresses(options.resolver, host.name, signal)
          : { addresses: [host.address], isSecure: false, owner: host.name };
      const addresses = found.addresses.filter((address) => !isForbiddenAddress(address));
      if (addresses.length > 0) return { ...found, addresses };
      return found.addresses.length > 0 ? 'The address leads back to this relay' : 'The name has no address';
    } catch (error) {
      if (error instanceof DnsFailureError) return error.message;
      throw error;
    }
  };

  const overSmtp = async (
    domain: string,
    host: MailHost,
    addresses: HostAddresses,
    message: OutgoingMessage,
    signal: AbortSignal,
  ): Promise<Outcome> => {
    const seen = { domain, host: host.name, tlsa: [], sendingIp: '', receivingIp: '' };
    const dane = message.toAnybody === true ? undefined : await findTlsa(host, addresses, signal);
    if (dane === 'unknown') {
      // RFC 7672 §2.1.1: no answer is no permission to do without.
      options.onTlsSession({ ...seen, result: 'dnssec-invalid' });
      return { kind: 'unavailable', reason: 'The TLSA records could not be looked up' };
    }
    const records = usableRecords(dane?.values ?? []);
    const attempt: SmtpAttempt = await deliverOverSmtp(
      {
        host: host.name,
        lookup: lookupKnown(addresses.addresses),
        needsCertificate: host.needsCertificate && message.toAnybody !== true,
        // RFC 7672 §2.2: records that mean nothing ask for TLS alone, which is what we ask of everybody.
        ...(records.length === 0 ? {} : { dane: { records, names: [dane?.base ?? host.name, domain] } }),
        serverName: host.address === undefined ? (dane?.base ?? host.name) : undefined,
      },
      message,
      { ...options.smtp, localName: mailDomain(options.ownDomain()), wallMs: () => options.clock.wallMs() },
      signal,
    );
    if (attempt.tls !== undefined && message.toAnybody !== true) {
      options.onTlsSession({
        ...seen,
        tlsa: records.length === 0 ? [] : (dane?.values ?? []),
        ...attempt.tls,
      });
    }
    return attempt.outcome;
  };

  /** Undefined where the host has none, or nothing vouches for them. */
  const findTlsa = async (
    host: MailHost,
    addresses: HostAddresses,
    signal: AbortSignal,
  ): Promise<{ base: string; values: readonly string[] } | 'unknown' | undefined> => {
    // RFC 7672 §2.2.2: unsigned addresses are no ground to stand on, and their zones may choke on TLSA.
    if (!host.isSecure || !addresses.isSecure) return undefined;
    // The name after CNAMEs first, then as written.
    for (const base of new Set([addresses.owner, host.name])) {
      try {
        const answer = await options.resolver.query(`_25._tcp.${base}`, 'TLSA', signal);
        if (answer.kind === 'records' && answer.isSecure) return { base, values: answer.values };
      } catch (error) {
        if (error instanceof DnsFailureError) return 'unknown';
        throw error;
      }
    }
    return undefined;
  };

  return async (message, signal) => {
    const domains = new Map<string, number[]>();
    for (const [index, recipient] of message.recipients.entries()) {
      const domain = recipient.slice(recipient.lastIndexOf('@') + 1).toLowerCase();
      domains.set(domain, [...(domains.get(domain) ?? []), index]);
    }
    const replies = new Map<number, SmtpReply>();
    await Promise.all(
      [...domains].map(async ([domain, indexes]) => {
        const recipients = indexes.map((index) => message.recipients[index] ?? '');
        const answers = await toDomain(domain, { ...message, recipients }, signal);
        for (const [at, index] of indexes.entries()) replies.set(index, answers[at] ?? busy);
      }),
    );
    return message.recipients.map((_, index) => replies.get(index) ?? busy);
  };
}

function remember<Key, Value>(map: Map<Key, Value>, key: Key, value: Value): Value {
  map.set(key, value);
  return value;
}

/** 421 would make Postfix end the session with us; what it means is "later". */
function forQueue(reply: SmtpReply): SmtpReply {
  return reply.code === 421 ? { ...reply, code: 451 } : reply;
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}
