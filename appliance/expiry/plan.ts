/** What to take out of a mailbox. Pure. Numbers of chatmail/relay (expire.py, quota-expire). */

export interface StoredMessage {
  /** GUID of its mailbox. */
  readonly mailbox: string;
  readonly uid: number;
  /** As the quota counts it. */
  readonly sizeBytes: number;
  /** Seconds since 1970. */
  readonly receivedSec: number;
}

/** A mailbox that is nearly full is trimmed to this share of its quota. */
export const trimToShare = 0.7;

/** What is younger may still be under way to a second device. */
export const minTrimAgeSec = 86_400;

/** Oldest first, just enough for the rest to fit into `targetBytes`; nothing younger than a day. */
export function planTrim(
  messages: readonly StoredMessage[],
  limits: { readonly targetBytes: number; readonly nowSec: number },
): StoredMessage[] {
  let excessBytes = messages.reduce((sum, message) => sum + message.sizeBytes, 0) - limits.targetBytes;
  const chosen: StoredMessage[] = [];
  for (const message of messages.toSorted((a, b) => a.receivedSec - b.receivedSec || a.uid - b.uid)) {
    if (excessBytes <= 0 || message.receivedSec > limits.nowSec - minTrimAgeSec) break;
    chosen.push(message);
    excessBytes -= message.sizeBytes;
  }
  return chosen;
}

/** UIDs as an IMAP sequence set with ranges: 1:3,7. */
export function encodeUidSet(uids: readonly number[]): string {
  const ranges: string[] = [];
  let first: number | undefined;
  let last = 0;
  const finish = () => {
    if (first !== undefined) ranges.push(first === last ? `${first}` : `${first}:${last}`);
  };
  for (const uid of [...uids].sort((a, b) => a - b)) {
    if (first === undefined || uid !== last + 1) {
      finish();
      first = uid;
    }
    last = uid;
  }
  finish();
  return ranges.join(',');
}
