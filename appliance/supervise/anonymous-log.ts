/**
 * Takes people out of log lines on their way to the disk: addresses of mail, and those of machines from where
 * somebody came. What is left tells a fault from a working day: which server, which queue id, which error.
 */
import { isIP } from 'node:net';

/** What stands for something that was taken out. */
const removed = '…';

/** RFC 5321 localparts as daemons print them, up to the @; the domain stays. */
const localpart = /(?:"[^"]{0,128}"|[^\s<>()[\]=,;:"'@/]{1,128})@(?=[\w[])/g;

/** Candidates: dotted quads, and anything of IPv6's letters with two colons in it. */
const addressLike =
  /(?<![\w.])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:IPv6:)?[0-9a-f]{0,4}:[0-9a-f:.]*:[0-9a-f.:]*)(?!\w)/gi;

/** Postfix's own clients name the servers that they went to: no people's addresses, and what one looks for. */
const towardsServers = /\bpostfix\/(?:smtp|lmtp|error|qmgr|bounce)\[/;

/** The line without mail addresses' localparts, and without the IP addresses of whoever connected. */
export function anonymousLine(line: string): string {
  const text = line.replace(localpart, `${removed}@`);
  if (towardsServers.test(text)) return text;
  return text.replace(addressLike, (found) => {
    const tagless = found.replace(/^IPv6:/i, '');
    // A sentence may go on with a colon, or end with a dot.
    const address = [tagless, tagless.slice(0, -1)].find((one) => isIP(one) !== 0);
    const isOwn = address === undefined || /^(?:127\.|::1?$)/.test(address);
    return isOwn ? found : found.replace(address, removed);
  });
}
