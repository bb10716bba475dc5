/**
 * The SMTP replies of the filter. Codes and texts are those of chatmail/relay, which clients and its own
 * test suite know; where relay gives no enhanced code one is added, since Postfix takes no reply without.
 */

const maxShownLength = 320;

/** An address as it may stand in a reply: one line of printable ASCII. */
function shown(address: string): string {
  return `<${address.replace(/[^!-~]/g, '?').slice(0, maxShownLength)}>`;
}

export const replies = {
  encryptionNeeded: '523 5.7.1 Encryption Needed: Invalid Unencrypted Mail',
  invalidFromHeader: '500 5.7.1 Invalid FROM header',
  noSignature: '554 5.7.1 No DKIM signature found',
  noValidSignature: '554 5.7.1 No valid DKIM signature found',
  keyLookupFailed: '451 4.7.5 The DKIM key could not be looked up, try again later',
  notSignedIn: '530 5.7.0 Authentication required',
  brokenLines: '554 5.6.0 NUL, bare CR or bare LF refused',
  ownDomain: '554 5.7.1 Mail from this domain is only taken from its signed-in users',
  invalidFrom: (from: string, sender: string) => `500 5.7.1 Invalid FROM ${shown(from)} for ${shown(sender)}`,
  invalidSender: (sender: string) => `500 5.1.7 Invalid from address ${shown(sender)}`,
  notOwned: (sender: string) => `553 5.7.1 ${shown(sender)}: Sender address rejected: not owned by user`,
  repeated: (header: string) => `554 5.6.0 More than one ${header} header`,
  tooMuchMail: (sender: string, waitMs: number) =>
    `450 4.7.1: Too much mail from ${shown(sender)}, try again in ${Math.ceil(waitMs / 1000)} s`,
} as const;
