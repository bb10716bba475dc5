/** The rules for mail of other servers, all but the DKIM check, which needs the network. Pure. */
import type { Domain } from '../contract/domain.ts';
import { mailDomain } from '../contract/domain.ts';
import { domainOf, parseAddress, parseFromField, sameMailbox } from './address.ts';
import {
  hasPlainLines,
  isDeliveryReport,
  isEncrypted,
  isSecureJoinRequest,
  repeatedHeader,
} from './content.ts';
import { type MailEdit, type MailMessage, valuesOf } from './message.ts';
import { replies } from './replies.ts';

/** What the gate reads, or what readers show: twice, and they disagree on which counts. */
const onlyOnce = ['Subject', 'MIME-Version', 'Content-Type', 'Content-Transfer-Encoding'];

export type IncomingJudgement =
  | { readonly kind: 'reject'; readonly reply: string }
  | {
      readonly kind: 'accept';
      readonly edits: readonly MailEdit[];
      /** The From domain that must have signed the message; null where none can (an address literal). */
      readonly signedBy: string | null;
    };

/**
 * Judges a message from another server: encrypted, a SecureJoin request, or a delivery report. A sender that
 * is not the author is replaced by the null sender, so that no bounce goes to a third party.
 * @param ownDomain the relay's domain, whose users never come this way
 */
export function judgeIncoming(message: MailMessage, ownDomain: Domain): IncomingJudgement {
  const reject = (reply: string): IncomingJudgement => ({ kind: 'reject', reply });
  if (!hasPlainLines(message)) return reject(replies.brokenLines);
  const [fromField, ...otherFrom] = valuesOf(message.headers, 'From');
  const from = fromField === undefined || otherFrom.length > 0 ? null : parseFromField(fromField);
  const domain = from === null ? null : domainOf(from);
  if (from === null || domain === null) return reject(replies.invalidFromHeader);
  const repeated = repeatedHeader(message.headers, onlyOnce);
  if (repeated !== null) return reject(replies.repeated(repeated));
  const allowed =
    isEncrypted(message, { outgoing: false }) ||
    isSecureJoinRequest(message) ||
    isDeliveryReport(message, from.localpart);
  if (!allowed) return reject(replies.encryptionNeeded);
  // Nothing proves that mail comes from an address literal, so at least it must not claim to be ours.
  if (domain.kind === 'ip' && mailDomain(domain) === mailDomain(ownDomain)) return reject(replies.ownDomain);
  const sender = parseAddress(message.sender);
  const fromAuthor = message.sender === '' || (sender !== null && sameMailbox(sender, from));
  return {
    kind: 'accept',
    edits: fromAuthor ? [] : [{ kind: 'changeFrom', address: '<>', args: '' }],
    signedBy: domain.kind === 'ip' ? null : domain.name,
  };
}
