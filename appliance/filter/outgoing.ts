/** The rules for mail of our own signed-in users. Pure. */
import { parseAddress, parseFromField, sameMailbox } from './address.ts';
import {
  hasPlainLines,
  isAutocryptSetup,
  isEncrypted,
  isSecureJoinRequest,
  repeatedHeader,
} from './content.ts';
import { type HeaderField, type MailDecision, type MailEdit, type MailMessage, valuesOf } from './message.ts';
import { replies } from './replies.ts';

/** RFC 5322 §3.6: at most one each. Twice, and readers disagree on which counts. */
const onlyOnce = [
  'From',
  'Sender',
  'To',
  'Cc',
  'Subject',
  'Date',
  'Message-ID',
  'MIME-Version',
  'Content-Type',
  'Content-Transfer-Encoding',
];

/** Fields that tell where a user is and what they use. */
const revealing = ['Received', 'X-Originating-IP', 'X-Mailer', 'User-Agent'];

/** What every subject becomes: the real one is inside the encrypted part. */
const hiddenSubject = ' [...]';

/**
 * Judges a message that the signed-in user `login` hands in: it is from that user, and encrypted (or one of
 * the few that cannot be). What passes loses its revealing header fields.
 * @param login the name Postfix authenticated, `{auth_authen}`; null when it did not
 */
export function judgeOutgoing(message: MailMessage, login: string | null): MailDecision {
  const reject = (reply: string): MailDecision => ({ kind: 'reject', reply });
  const user = login === null ? null : parseAddress(login);
  if (user === null) return reject(replies.notSignedIn);
  const sender = parseAddress(message.sender);
  if (sender === null) return reject(replies.invalidSender(message.sender));
  if (!sameMailbox(sender, user)) return reject(replies.notOwned(message.sender));
  if (!hasPlainLines(message)) return reject(replies.brokenLines);
  const [fromField, ...otherFrom] = valuesOf(message.headers, 'From');
  const from = fromField === undefined || otherFrom.length > 0 ? null : parseFromField(fromField);
  if (from === null) return reject(replies.invalidFromHeader);
  if (!sameMailbox(from, sender)) return reject(replies.invalidFrom(from.text, message.sender));
  const repeated = repeatedHeader(message.headers, onlyOnce);
  if (repeated !== null) return reject(replies.repeated(repeated));
  const [recipient = '', ...otherRecipients] = message.recipients;
  const onlyReader = otherRecipients.length === 0 ? parseAddress(recipient) : null;
  const toSelf = onlyReader !== null && sameMailbox(onlyReader, sender);
  const allowed =
    isEncrypted(message, { outgoing: true }) ||
    isSecureJoinRequest(message) ||
    (toSelf && isAutocryptSetup(message));
  if (!allowed) return reject(replies.encryptionNeeded);
  return { kind: 'accept', edits: privacyEdits(message.headers) };
}

/** The edits that take revealing fields out and hide the subject. */
export function privacyEdits(headers: readonly HeaderField[]): MailEdit[] {
  const edits: MailEdit[] = [];
  for (const name of revealing) {
    // From the last to the first, so that no deletion moves a field still to be deleted.
    for (let index = valuesOf(headers, name).length; index >= 1; index--) {
      edits.push({ kind: 'changeHeader', index, name, value: '' });
    }
  }
  for (const [at, value] of valuesOf(headers, 'Subject').entries()) {
    if (value === hiddenSubject) continue;
    edits.push({ kind: 'changeHeader', index: at + 1, name: 'Subject', value: hiddenSubject });
  }
  return edits;
}
