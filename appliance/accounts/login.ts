/**
 * Signing in, and the account that comes into being with it. One rule governs the shape of this file: who
 * fails to sign in learns nothing about whether the address exists, neither from the answer nor from the
 * time it took. So every refusal costs one password hash, and every temporary refusal is given to known
 * and unknown addresses alike.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../contract/config.ts';
import type { HashQueue } from './hash-queue.ts';
import { OverloadError } from './hash-queue.ts';
import { currentCost, encodePasswordHash, hashPassword, isOutdatedHash, verifyPassword } from './password.ts';
import { canonicalAddress, creationRefusal, maxPasswordBytes } from './rules.ts';
import { type AccountStore, dayOf } from './store.ts';
import type { Shortage } from './system-load.ts';

export type LoginOutcome =
  | { readonly kind: 'accepted'; readonly address: string; readonly created: boolean }
  /** Wrong password, unknown address, closed creation, broken rule, disabled: not told apart. */
  | { readonly kind: 'denied' }
  /** Come again later. */
  | { readonly kind: 'unavailable' };

export interface Accounts {
  /** Checks a password, creating the account when the rules allow. Never throws for what a client sent. */
  login(username: string, password: string): Promise<LoginOutcome>;
  /**
   * The canonical address when there is such an account, or null. With `enabledOnly`, a disabled one counts
   * as none: it gets no mail, yet its old mail must still be found to be expired.
   */
  lookup(username: string, options?: { readonly enabledOnly?: boolean }): string | null;
  /** What happened since start, for metrics. */
  readonly counts: LoginCounts;
}

export interface LoginCounts {
  accepted: number;
  denied: number;
  unavailable: number;
  created: number;
  fromCache: number;
}

export interface AccountsOptions {
  readonly store: AccountStore;
  /** Called anew each time, since the configuration can be reloaded. */
  readonly config: () => Config;
  readonly hashes: HashQueue;
  readonly findShortage: () => Promise<Shortage | null>;
  readonly clock: Clock;
  readonly log: Log;
}

/** A client opens several connections at once and again whenever its network changes. */
const cacheLifetimeMs = 10 * 60_000;
const maxCacheEntries = 4096;

/** What unknown addresses are checked against: costs what a real one costs, and matches nothing. */
const decoyHash = encodePasswordHash({ ...currentCost, salt: Buffer.alloc(16), tag: Buffer.alloc(32) });

export function createAccounts(options: AccountsOptions): Accounts {
  const { store, config, hashes, findShortage, clock, log } = options;
  const counts: LoginCounts = { accepted: 0, denied: 0, unavailable: 0, created: 0, fromCache: 0 };
  // Only a keyed digest of address and password is held, and the key dies with the process.
  const digestKey = randomBytes(32);
  const successes = new Map<string, { readonly passwordHash: string; readonly expiresMs: number }>();
  const running = new Map<string, Promise<LoginOutcome>>();

  const digest = (address: string, password: string) =>
    createHmac('sha256', digestKey).update(`${address}\0${password}`).digest('base64');

  function remember(key: string, passwordHash: string): void {
    successes.delete(key);
    successes.set(key, { passwordHash, expiresMs: clock.wallMs() + cacheLifetimeMs });
    if (successes.size > maxCacheEntries) {
      const oldest = successes.keys().next().value;
      if (oldest !== undefined) successes.delete(oldest);
    }
  }

  /** An entry counts only while the stored hash is the one it was checked against. */
  function isRemembered(key: string, passwordHash: string): boolean {
    const entry = successes.get(key);
    if (entry === undefined) return false;
    if (entry.expiresMs > clock.wallMs() && entry.passwordHash === passwordHash) return true;
    successes.delete(key);
    return false;
  }

  async function check(address: string, password: string, key: string): Promise<LoginOutcome> {
    const today = dayOf(clock.wallMs());
    const account = store.find(address);
    if (account !== null && !account.disabled && isRemembered(key, account.passwordHash)) {
      counts.fromCache += 1;
      store.noteLogin(account, today);
      return { kind: 'accepted', address, created: false };
    }
    const mayCreate = creationRefusal(config(), address, password) === null;
    const shortage = await findShortage();
    // With creation paused, an unknown address is put off; so a wrong password must be too.
    const refusal: LoginOutcome = { kind: mayCreate && shortage !== null ? 'unavailable' : 'denied' };
    if (account === null) {
      if (!mayCreate || shortage !== null) {
        await hashes.run(() => verifyPassword(decoyHash, password));
        return refusal;
      }
      const passwordHash = await hashes.run(() => hashPassword(password));
      // Somebody may have taken the address in the meantime: then this is a login like any other.
      if (!store.create(address, passwordHash, today)) return check(address, password, key);
      // Mail may come as soon as we say yes; a power cut must not give it to the next who asks.
      await store.flush();
      remember(key, passwordHash);
      counts.created += 1;
      log.info('account created', { accounts: store.count() });
      return { kind: 'accepted', address, created: true };
    }
    const matches = await hashes.run(() => verifyPassword(account.passwordHash, password));
    if (!matches || account.disabled) return refusal;
    let { passwordHash } = account;
    if (isOutdatedHash(passwordHash)) {
      passwordHash = await hashes.run(() => hashPassword(password));
      store.setPasswordHash(address, passwordHash);
    }
    remember(key, passwordHash);
    store.noteLogin(account, today);
    return { kind: 'accepted', address, created: false };
  }

  async function decide(username: string, password: string): Promise<LoginOutcome> {
    if (Buffer.byteLength(password) > maxPasswordBytes || password === '') return { kind: 'denied' };
    const address = canonicalAddress(config(), username);
    if (address === null) {
      await hashes.run(() => verifyPassword(decoyHash, password));
      return { kind: 'denied' };
    }
    // Ten connections of one client on its first login make one account, and one hash.
    const key = digest(address, password);
    const known = running.get(key);
    if (known !== undefined) return known;
    const outcome = check(address, password, key).finally(() => running.delete(key));
    running.set(key, outcome);
    return outcome;
  }

  return {
    counts,
    async login(username, password) {
      let outcome: LoginOutcome;
      try {
        outcome = await decide(username, password);
      } catch (error) {
        if (!(error instanceof OverloadError)) throw error;
        log.warn('logins refused for overload');
        outcome = { kind: 'unavailable' };
      }
      counts[outcome.kind] += 1;
      return outcome;
    },
    lookup(username, { enabledOnly = false } = {}) {
      const address = canonicalAddress(config(), username);
      if (address === null) return null;
      const account = store.find(address);
      return account === null || (enabledOnly && account.disabled) ? null : address;
    },
  };
}
