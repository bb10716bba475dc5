/**
 * The IMAP METADATA entries (RFC 5464) a chatmail client asks for, as the dictionary keys Dovecot makes of
 * them (src/lib-storage/index/index-attribute.c):
 *
 *     INBOX /private/devicetoken              priv/<mailbox guid>/devicetoken
 *     "" /shared/vendor/deltachat/<name>      shared/<guid>/vendor/vendor.dovecot/pvt/server/vendor/deltachat/<name>
 */
import type { Dictionary } from './session.ts';

/** Read-only entries of the server. */
export type ServerEntry = 'irohrelay' | 'turn' | 'maxsmtprecipients' | 'appversions';

const tokenKey = /^priv\/[0-9a-f]{32}\/devicetoken$/;
const serverKey =
  /^shared\/[0-9a-f]{32}\/vendor\/vendor\.dovecot\/pvt\/server\/vendor\/deltachat\/(irohrelay|turn|maxsmtprecipients|appversions)$/;

/** An encrypted token is 512 bytes before base64; web push endpoints are the longest plain ones. */
export const maxTokenLength = 4096;

/** Tokens are handed out joined by spaces, and posted as they are: printable ASCII without a space. */
const tokenPattern = /^[\x21-\x7e]+$/;

function isServerEntry(text: string | undefined): text is ServerEntry {
  return text === 'irohrelay' || text === 'turn' || text === 'maxsmtprecipients' || text === 'appversions';
}

export interface MetadataOptions {
  readonly tokens: (address: string) => readonly string[];
  readonly addToken: (address: string, token: string) => void;
  /** The value of an entry now, or null where this relay has nothing to say. */
  readonly serverEntry: (entry: ServerEntry) => string | null;
}

export function createMetadata(options: MetadataOptions): Dictionary {
  return {
    lookup(user, key) {
      if (tokenKey.test(key)) {
        const tokens = options.tokens(user);
        return tokens.length === 0 ? null : tokens.join(' ');
      }
      const entry = serverKey.exec(key)?.[1];
      return isServerEntry(entry) ? options.serverEntry(entry) : null;
    },
    set(user, key, value) {
      // Clients add tokens and never take any away: a removal here would silence the other devices. Dovecot
      // clears whatever a mailbox may have when it deletes one.
      if (value === null) return true;
      if (!tokenKey.test(key)) return false;
      if (value.length > maxTokenLength || !tokenPattern.test(value)) return false;
      options.addToken(user, value);
      return true;
    },
  };
}
