/** What expiry does to one account's mail, in doveadm commands (doveadm-expunge(1), doveadm-search-query(7)). */
import { ProtocolError } from '../base/errors.ts';
import type { Doveadm } from '../doveadm/client.ts';
import { largeMessageBytes } from '../contract/retention.ts';
import { encodeUidSet, planTrim, type StoredMessage, trimToShare } from './plan.ts';

export interface ExpiryRules {
  readonly deleteAfterDays: number;
  readonly deleteLargeAfterDays: number;
  readonly quotaBytes: number;
}

const fetchFields = ['mailbox-guid', 'uid', 'size.virtual', 'date.received.unixtime'];

/** A UID set is one argument on one line. */
const uidsPerCommand = 500;

function decodeMessages(fields: readonly string[]): StoredMessage[] {
  if (fields.length % fetchFields.length !== 0) throw new ProtocolError('doveadm fetch left out a field');
  const messages: StoredMessage[] = [];
  for (let index = 0; index < fields.length; index += fetchFields.length) {
    const [mailbox = '', ...numbers] = fields.slice(index, index + fetchFields.length);
    const [uid = NaN, sizeBytes = NaN, receivedSec = NaN] = numbers.map(Number);
    if (![uid, sizeBytes, receivedSec].every(Number.isSafeInteger)) {
      throw new ProtocolError(`doveadm fetch gave a number that is none: ${numbers.join(' ').slice(0, 80)}`);
    }
    messages.push({ mailbox, uid, sizeBytes, receivedSec });
  }
  return messages;
}

/** Removes what is too old, and large mail earlier. */
export async function expireOldMail(doveadm: Doveadm, address: string, rules: ExpiryRules): Promise<void> {
  await doveadm.run(address, 'expunge', ['mailbox', '*', 'BEFORE', `${rules.deleteAfterDays}d`]);
  // Not recent: some client has had the mailbox open since the message came. relay asks whether it is in cur/.
  const largeAndOld = ['LARGER', `${largeMessageBytes}`, 'BEFORE', `${rules.deleteLargeAfterDays}d`];
  await doveadm.run(address, 'expunge', ['mailbox', '*', ...largeAndOld, 'NOT', 'RECENT']);
}

/** Trims the oldest mail away where an account uses more than its share; how many messages went. */
export async function trimMailbox(
  doveadm: Doveadm,
  address: string,
  rules: ExpiryRules,
  nowSec: number,
): Promise<number> {
  const messages = decodeMessages(
    await doveadm.run(address, 'fetch', [fetchFields.join(' '), 'mailbox', '*']),
  );
  const targetBytes = rules.quotaBytes * trimToShare;
  const byMailbox = Map.groupBy(planTrim(messages, { targetBytes, nowSec }), ({ mailbox }) => mailbox);
  let removed = 0;
  for (const [mailbox, chosen] of byMailbox) {
    const uids = chosen.map(({ uid }) => uid);
    for (let start = 0; start < uids.length; start += uidsPerCommand) {
      const some = uids.slice(start, start + uidsPerCommand);
      await doveadm.run(address, 'expunge', ['mailbox-guid', mailbox, 'UID', encodeUidSet(some)]);
      removed += some.length;
    }
  }
  return removed;
}
