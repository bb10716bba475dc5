/** What an attempt at one server came to, over HTTPS as over SMTP. */
import type { SmtpReply } from '../smtp/reply.ts';

export type Outcome =
  /** The server has decided: one reply for each recipient. */
  | { readonly kind: 'replied'; readonly replies: readonly SmtpReply[] }
  /** It has not: nothing was delivered, another way may be tried at once. */
  | { readonly kind: 'unavailable'; readonly reason: string }
  /**
   * It was sent the whole message and said nothing: it may have delivered it. Tried again later and not at
   * once, since the usual cause is a server with too much to do.
   */
  | { readonly kind: 'unanswered'; readonly reason: string };
