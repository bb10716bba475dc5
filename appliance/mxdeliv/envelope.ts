/**
 * The envelope of a message that comes over HTTPS, from its headers (chatmail's /mxdeliv): `X-MAIL-FROM`, or
 * none for the null sender, and one `X-MAIL-TO` a recipient.
 */
import { parseAddress } from '../filter/address.ts';

export interface Envelope {
  /** Empty: the null sender. */
  readonly sender: string;
  readonly recipients: readonly string[];
}

/** A line of a mailbox at its longest, with its name and end: what the HTTP server has to have room for. */
const maxRecipientHeaderBytes = 340;
/** Of a request without recipients. */
const otherHeaderBytes = 8 * 1024;

/**
 * Whoever asks for the smallest page may send as much, on each of hundreds of connections. The nginx before other
 * relays takes 32 KiB, so no peer counts on more.
 */
const mostHeaderBytes = 64 * 1024;

/** `maxHeaderSize` for the HTTP server in front: Node's own 16 KiB hold a few dozen recipients. */
export function maxRequestHeaderBytes(maxRecipients: number): number {
  return Math.min(otherHeaderBytes + maxRecipients * maxRecipientHeaderBytes, mostHeaderBytes);
}

/**
 * @param headers as in `request.headersDistinct`: Node joins repeated headers with a comma otherwise
 * @returns the SMTP reply that refuses, where this is no envelope
 */
export function readEnvelope(
  headers: NodeJS.ReadOnlyDict<readonly string[]>,
  maxRecipients: number,
): Envelope | { readonly refusal: string } {
  const senders = headers['x-mail-from'] ?? [];
  const recipients = headers['x-mail-to'] ?? [];
  if (senders.length > 1) return { refusal: '501 5.5.4 More than one X-MAIL-FROM' };
  if (recipients.length === 0) return { refusal: '554 5.5.1 No X-MAIL-TO' };
  if (recipients.length > maxRecipients) {
    // Not 452, as in SMTP: there is no next transaction that could take the rest.
    return { refusal: `550 5.5.3 Over ${maxRecipients} recipients` };
  }
  const sender = senders[0] ?? '';
  if (sender !== '' && parseAddress(sender) === null) {
    return { refusal: '501 5.1.7 Bad sender address syntax' };
  }
  if (recipients.some((recipient) => parseAddress(recipient) === null)) {
    return { refusal: '501 5.1.3 Bad recipient address syntax' };
  }
  return { sender, recipients };
}
