/**
 * The relay's mail filter: decides for every message by the way it came, keeps users to their rate, signs
 * what leaves and checks who signed what arrives. Plugs into the milter server; other ways in (HTTPS
 * delivery) ask `incoming` directly.
 */
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../contract/config.ts';
import { dkimEd25519Selector, dkimSelector } from '../contract/dns-records.ts';
import { isMailDomain, mailDomain } from '../contract/domain.ts';
import type { MilterHandler, MilterTransaction } from '../milter/session.ts';
import { parseAddress, parseFromField } from './address.ts';
import { createDkimSigner } from './dkim-sign.ts';
import { createDkimVerifier, type TxtResolver } from './dkim-verify.ts';
import { judgeIncoming } from './incoming.ts';
import { applyEdits, type HeaderField, type MailDecision, type MailMessage, valuesOf } from './message.ts';
import { judgeOutgoing } from './outgoing.ts';
import { RateLimiter } from '../base/rate-limit.ts';
import { replies } from './replies.ts';

/**
 * The way a message came, by Postfix's `{daemon_name}` (milter_macro_daemon_name): `ORIGINATING` on the
 * submission services, `INTERNAL` on cleanup for bounces it makes itself, anything else is another server.
 */
export type Leg = 'outgoing' | 'incoming' | 'internal';

const legs: ReadonlyMap<string, Leg> = new Map([
  ['ORIGINATING', 'outgoing'],
  ['INTERNAL', 'internal'],
]);

export interface MailFilterOptions {
  readonly config: Pick<Config, 'domain' | 'mail'>;
  /** PKCS#8 PEM, RSA. Null signs nothing; nor is anything signed where the domain is an IP address. */
  readonly dkimKey: string | null;
  /** PKCS#8 PEM, Ed25519: signs beside the first. */
  readonly dkimEd25519Key?: string | null;
  /** @default 'opendkim', as on every chatmail relay */
  readonly selector?: string;
  /** Looks up the keys of others; see `txtResolver`. */
  readonly resolveTxt: TxtResolver;
  readonly clock: Pick<Clock, 'monotonicMs' | 'wallMs'>;
  readonly log: Log;
}

/** How many messages were taken and refused, by leg and by the first word of the reply. */
export interface MailFilterCounts {
  readonly accepted: Readonly<Record<Leg, number>>;
  readonly rejected: Readonly<Record<Leg, number>>;
  /** Of the rejected, those for want of encryption. */
  readonly unencrypted: Readonly<Record<Leg, number>>;
  readonly rateLimited: number;
  readonly signed: number;
}

export interface MailFilter extends MilterHandler {
  /** Judges a message of another server, and whether its author's domain signed it. */
  incoming(message: MailMessage, options: { readonly signal: AbortSignal }): Promise<MailDecision>;
  /** The header fields of a message of our own, signatures above them where there is a key. */
  sign(message: MailMessage): Promise<readonly HeaderField[]>;
  readonly counts: MailFilterCounts;
}

/** @throws ConfigError when the DKIM key cannot be used */
export function createMailFilter({
  config,
  dkimKey,
  dkimEd25519Key = null,
  selector = dkimSelector,
  resolveTxt,
  clock,
  log,
}: MailFilterOptions): MailFilter {
  // An address literal has no DNS zone to publish a key in.
  const signer =
    dkimKey === null || config.domain.kind === 'ip'
      ? null
      : createDkimSigner({
          key: dkimKey,
          selector,
          ed25519:
            dkimEd25519Key === null ? undefined : { key: dkimEd25519Key, selector: dkimEd25519Selector },
          domain: mailDomain(config.domain),
          clock,
        });
  const verifier = createDkimVerifier({ resolveTxt, clock });
  const limiter = new RateLimiter({
    perMinute: config.mail.messagesPerMinute,
    burst: config.mail.messageBurst,
    clock,
  });
  const counts = {
    accepted: { outgoing: 0, incoming: 0, internal: 0 },
    rejected: { outgoing: 0, incoming: 0, internal: 0 },
    unencrypted: { outgoing: 0, incoming: 0, internal: 0 },
    rateLimited: 0,
    signed: 0,
  };

  /** Adds the signature over what the message will be after `decision`. */
  const signed = async (message: MailMessage, decision: MailDecision): Promise<MailDecision> => {
    if (decision.kind === 'reject' || signer === null || !isOurs(message, config.domain)) return decision;
    const signatures = await signer.sign(applyEdits(message.headers, decision.edits), message.body);
    counts.signed++;
    return { kind: 'accept', edits: [...decision.edits, ...signatures] };
  };

  const incoming: MailFilter['incoming'] = async (message, { signal }) => {
    const judgement = judgeIncoming(message, config.domain);
    if (judgement.kind === 'reject') return judgement;
    const accept: MailDecision = { kind: 'accept', edits: judgement.edits };
    if (judgement.signedBy === null) return accept;
    const result = await verifier.verify(message, judgement.signedBy, { signal });
    switch (result) {
      case 'pass':
        return accept;
      case 'unsigned':
        return { kind: 'reject', reply: replies.noSignature };
      case 'fail':
        return { kind: 'reject', reply: replies.noValidSignature };
      case 'temperror':
        return { kind: 'reject', reply: replies.keyLookupFailed };
    }
  };

  const decide = (message: MailMessage, transaction: MilterTransaction, signal: AbortSignal) => {
    switch (legOf(transaction)) {
      case 'outgoing':
        return signed(message, judgeOutgoing(message, transaction.macros.get('auth_authen') ?? null));
      case 'internal':
        return signed(message, { kind: 'accept', edits: [] });
      case 'incoming':
        return incoming(message, { signal });
    }
  };

  const count = (leg: Leg, decision: MailDecision): MailDecision => {
    counts[decision.kind === 'accept' ? 'accepted' : 'rejected'][leg]++;
    if (decision.kind === 'reject') {
      if (decision.reply === replies.encryptionNeeded) counts.unencrypted[leg]++;
      log.info('mail-rejected', { leg, code: decision.reply.slice(0, 9) });
      log.debug('mail-rejected', { leg, reply: decision.reply });
    }
    return decision;
  };

  return {
    counts,
    incoming: async (message, options) => count('incoming', await incoming(message, options)),
    sign: async (message) => {
      const decision = await signed(message, { kind: 'accept', edits: [] });
      return decision.kind === 'accept' ? applyEdits(message.headers, decision.edits) : message.headers;
    },

    recipient: (transaction) => {
      // A message is counted at its first recipient; once refused, it stays so for the others.
      if (legOf(transaction) !== 'outgoing' || transaction.recipients.length > 0) return null;
      const { sender } = transaction;
      if (parseAddress(sender) === null) return replies.invalidSender(sender);
      const waitMs = limiter.take(sender.toLowerCase());
      if (waitMs === 0) return null;
      counts.rateLimited++;
      return replies.tooMuchMail(sender, waitMs);
    },

    message: async (message, { signal }) => count(legOf(message), await decide(message, message, signal)),
  };
}

function legOf(transaction: MilterTransaction): Leg {
  return legs.get(transaction.macros.get('daemon_name') ?? '') ?? 'incoming';
}

/** True when the author is of our domain: for others we have no key. */
function isOurs(message: MailMessage, domain: Config['domain']): boolean {
  const [field, ...others] = valuesOf(message.headers, 'From');
  const from = field === undefined || others.length > 0 ? null : parseFromField(field);
  return from !== null && isMailDomain(domain, from.domain);
}
