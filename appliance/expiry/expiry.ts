/**
 * Mail and accounts that have outlived their time: once a day for all, and at once for a mailbox that is
 * about to be full.
 */
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { connectDoveadm, type Doveadm, DoveadmError } from '../doveadm/client.ts';
import { removeDirectory } from '../doveadm/files.ts';
import { type ExpiryRules, expireOldMail, trimMailbox } from './mailboxes.ts';

export interface ExpiryAccounts {
  /** The next addresses in order. */
  addressesAfter(after: string, limit: number): string[];
  inactiveSince(day: number, limit: number): string[];
  remove(address: string): boolean;
}

export interface ExpiryOptions {
  readonly socketPath: string;
  readonly accounts: ExpiryAccounts;
  readonly rules: () => ExpiryRules & { readonly deleteInactiveDays: number };
  readonly homeOf: (address: string) => string;
  readonly clock: Clock;
  readonly log: Log;
  /** From 0 to 1: spreads the work of many relays that start together. */
  readonly random: () => number;
}

export interface Expiry {
  /** Sweeps soon after start and then daily, until `signal`. */
  runDaily(signal: AbortSignal): Promise<void>;
  /** One sweep over everything. */
  sweep(signal: AbortSignal): Promise<void>;
  /** Trims one mailbox now. */
  trim(address: string, signal: AbortSignal): Promise<void>;
}

const dayMs = 86_400_000;
const pageSize = 200;
const maxRemovalsPerDay = 1000;
/** After a failure, such as Dovecot being restarted. */
const retryMs = 3_600_000;
/** The busy minutes after a start belong to the clients that come back. */
const minStartDelayMs = 10 * 60_000;
const startSpreadMs = 50 * 60_000;

export function createExpiry(options: ExpiryOptions): Expiry {
  const { accounts, clock, log } = options;
  const connect = (signal: AbortSignal) => connectDoveadm(options.socketPath, signal);
  const trimming = new Map<string, Promise<void>>();

  async function removeInactive(signal: AbortSignal): Promise<number> {
    const today = Math.floor(clock.wallMs() / dayMs);
    const inactive = accounts.inactiveSince(today - options.rules().deleteInactiveDays, maxRemovalsPerDay);
    let removed = 0;
    for (const address of inactive) {
      using doveadm = await connect(signal);
      try {
        // Files first: should this be cut short, the account is found again tomorrow.
        await removeDirectory(doveadm, options.homeOf(address));
        accounts.remove(address);
        removed += 1;
      } catch (error) {
        if (!(error instanceof DoveadmError)) throw error;
        log.warn('inactive account not removed', { reason: error.message });
      }
    }
    return removed;
  }

  async function expireAccount(doveadm: Doveadm, address: string): Promise<boolean> {
    try {
      const rules = options.rules();
      await expireOldMail(doveadm, address, rules);
      await trimMailbox(doveadm, address, rules, Math.floor(clock.wallMs() / 1000));
      return true;
    } catch (error) {
      // One broken mailbox must not keep the others from being expired.
      if (!(error instanceof DoveadmError)) throw error;
      log.debug('mailbox not expired', { reason: error.message });
      return false;
    }
  }

  async function sweep(signal: AbortSignal): Promise<void> {
    const removed = await removeInactive(signal);
    using doveadm = await connect(signal);
    let swept = 0;
    let failed = 0;
    let after = '';
    for (;;) {
      const addresses = accounts.addressesAfter(after, pageSize);
      for (const address of addresses) {
        if (await expireAccount(doveadm, address)) swept += 1;
        else failed += 1;
        after = address;
      }
      if (addresses.length < pageSize) break;
    }
    log.info('mail expired', { accounts: swept, failed, removedAccounts: removed });
  }

  return {
    sweep,
    async runDaily(signal) {
      let delayMs = minStartDelayMs + options.random() * startSpreadMs;
      while (!signal.aborted) {
        try {
          await clock.sleep(delayMs, signal);
          await sweep(signal);
          delayMs = dayMs;
        } catch (error) {
          if (signal.aborted) return;
          log.error('expiry failed', { reason: messageOf(error) });
          delayMs = retryMs;
        }
      }
    },
    async trim(address, signal) {
      const known = trimming.get(address);
      if (known !== undefined) return known;
      const job = (async () => {
        using doveadm = await connect(signal);
        const removed = await trimMailbox(
          doveadm,
          address,
          options.rules(),
          Math.floor(clock.wallMs() / 1000),
        );
        log.info('mailbox trimmed', { removed });
      })().finally(() => trimming.delete(address));
      trimming.set(address, job);
      return job;
    },
  };
}
