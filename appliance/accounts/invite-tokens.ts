/**
 * Accounts by invite token (`accounts.create: "token"`): the relay makes up address and password, and counts a
 * use of the token with the account in one transaction. Tokens come from the configuration; the database
 * knows digests and counts.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { RateLimiter } from '../base/rate-limit.ts';
import type { Config, InviteToken } from '../contract/config.ts';
import { mailDomain } from '../contract/domain.ts';
import { inviteLengths, makeInviteAccount } from '../contract/invite.ts';
import type {
  InviteTokenOutcome,
  InviteTokenRefusal,
  InviteTokenRequest,
  InviteTokenState,
} from '../contract/invite-tokens.ts';
import { type HashQueue, OverloadError } from './hash-queue.ts';
import { hashPassword } from './password.ts';
import { type AccountStore, dayOf } from './store.ts';
import type { Shortage } from './system-load.ts';

export interface InviteTokens {
  /** Whether an account could be made with the token. Changes nothing but the count of wrong ones. */
  check(request: InviteTokenRequest): InviteTokenState;
  /** Makes an account. */
  redeem(request: InviteTokenRequest): Promise<InviteTokenOutcome>;
}

export interface InviteTokensOptions {
  readonly store: AccountStore;
  /** Called anew each time, since the configuration can be reloaded. */
  readonly config: () => Config;
  readonly hashes: HashQueue;
  readonly findShortage: () => Promise<Shortage | null>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Somebody who copies a token wrongly; a token of 12 characters is not found by guessing anyway. */
const wrongTokensPerMinute = 1;
const wrongTokenBurst = 10;
const maxClients = 10_000;

/** Random names of the usual nine letters never collide; of one letter they do. */
const maxAttempts = 20;

interface KnownToken extends InviteToken {
  /** SHA-256. */
  readonly digest: Buffer;
}

const digestOf = (token: string) => createHash('sha256').update(token).digest();
const refused = (reason: InviteTokenRefusal) => ({ kind: 'refused', reason }) as const;

export function createInviteTokens(options: InviteTokensOptions): InviteTokens {
  const { store, config, hashes, findShortage, clock, log } = options;
  const wrong = new RateLimiter({
    perMinute: wrongTokensPerMinute,
    burst: wrongTokenBurst,
    clock,
    maxKeys: maxClients,
  });
  let known: { readonly config: Config; readonly tokens: readonly KnownToken[] } | undefined;

  function tokensOf(current: Config): readonly KnownToken[] {
    if (known?.config !== current) {
      const tokens = current.accounts.tokens.map((one) => ({ ...one, digest: digestOf(one.token) }));
      known = { config: current, tokens };
    }
    return known.tokens;
  }

  /** The token's entry. Every one is compared, whole: how long it takes tells nothing. */
  function find(current: Config, { token, client }: InviteTokenRequest): KnownToken | InviteTokenRefusal {
    if (current.accounts.create !== 'token') return 'closed';
    if (wrong.waitMs(client) > 0) return 'busy';
    const digest = digestOf(token);
    let found: KnownToken | undefined;
    for (const one of tokensOf(current)) if (timingSafeEqual(one.digest, digest)) found = one;
    if (found !== undefined) return found;
    wrong.take(client);
    return 'unknown';
  }

  /** Why no account can be made with a token there is, or undefined. */
  function spent({ expires, digest, uses }: KnownToken): InviteTokenRefusal | undefined {
    if (expires !== undefined && dayOf(clock.wallMs()) > dayOf(Date.parse(`${expires}T00:00:00Z`))) {
      return 'expired';
    }
    return store.tokenUses(digest.toString('hex')) >= uses ? 'used-up' : undefined;
  }

  return {
    check(request) {
      const found = find(config(), request);
      if (typeof found === 'string') return refused(found);
      const reason = spent(found);
      return reason === undefined ? { kind: 'valid' } : refused(reason);
    },
    async redeem(request) {
      const current = config();
      const found = find(current, request);
      if (typeof found === 'string') return refused(found);
      const reason = spent(found);
      if (reason !== undefined) return refused(reason);
      if ((await findShortage()) !== null) return refused('unavailable');

      const { localpartLength, passwordLength } = inviteLengths(current.accounts);
      const invent = () =>
        makeInviteAccount(randomBytes(localpartLength + passwordLength), localpartLength, passwordLength);
      const { password } = invent();
      let passwordHash: string;
      try {
        passwordHash = await hashes.run(() => hashPassword(password));
      } catch (error) {
        if (error instanceof OverloadError) return refused('unavailable');
        throw error;
      }
      const token = { digest: found.digest.toString('hex'), maxUses: found.uses };
      const today = dayOf(clock.wallMs());
      for (let attempt = 0; attempt < maxAttempts; attempt += 1) {
        const { localpart } = invent();
        const address = `${localpart}@${mailDomain(current.domain)}`;
        const outcome = store.createWithToken(token, address, passwordHash, today);
        if (outcome === 'used-up') return refused('used-up');
        if (outcome === 'taken') continue;
        // Who is told of an account has one, and the token one use less, even after a power cut.
        await store.flush();
        log.info('account created by token', { accounts: store.count() });
        return { kind: 'created', localpart, password };
      }
      return refused('unavailable');
    },
  };
}
