/**
 * SMTP TLS reporting (RFC 8460), the sending side: counts sessions with domains that ask for it, and once a
 * day tells them. Reports are asked for by DNS alone, so that whoever runs a domain may have them.
 */
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { SessionCounter, TlsSession } from './counter.ts';
import { parseReportPolicy, type ReportTarget } from './policy.ts';
import {
  buildReport,
  buildReportMail,
  type DomainCounts,
  encodeReport,
  type Reporter,
  type ReportMail,
} from './report.ts';

export interface TlsReporterOptions {
  readonly counter: SessionCounter;
  /** Null where our domain is no name: a report has to be signed. Asked for each time. */
  readonly reporter: () => Reporter | null;
  /** TXT records, each with its strings joined; throws when DNS fails. */
  readonly resolveTxt: (name: string, signal: AbortSignal) => Promise<readonly string[]>;
  /** The HTTP status. */
  readonly post: (url: string, gzip: Buffer, signal: AbortSignal) => Promise<number>;
  /** Signs and delivers one mail; the SMTP reply code. */
  readonly mail: (mail: ReportMail, to: string, signal: AbortSignal) => Promise<number>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
}

export interface TlsReporter {
  /** Counts a session, unless nobody asked to be told of it. Never fails. */
  record(session: TlsSession): void;
  /** Sends what is due, hour by hour, until the signal fires; then writes what was counted. */
  run(signal: AbortSignal): Promise<void>;
}

const hourMs = 3600_000;
/** §4.4: what could not be sent for a day is of no use any more. */
const maxAgeDays = 2;

/**
 * To one mailbox or web server in a day. Whoever owns a zone names the target, and nobody asks the target: with
 * hundreds of domains a stranger could have us write to somebody who never wanted a report.
 */
const maxReportsPerTarget = 50;

export function createTlsReporter(options: TlsReporterOptions): TlsReporter {
  const { counter, reporter, resolveTxt, clock, random, log } = options;
  const stop = new AbortController();
  const today = () => new Date(clock.wallMs()).toISOString().slice(0, 10);

  let sent = { day: '', byTarget: new Map<string, number>() };
  /** False when the target has had enough for the day. */
  const mayTell = (target: ReportTarget): boolean => {
    const day = today();
    if (sent.day !== day) sent = { day, byTarget: new Map() };
    const key = target.kind === 'https' ? new URL(target.url).hostname : target.address.toLowerCase();
    const count = (sent.byTarget.get(key) ?? 0) + 1;
    sent.byTarget.set(key, count);
    return count <= maxReportsPerTarget;
  };

  const targetsOf = async (domain: string, signal: AbortSignal): Promise<readonly ReportTarget[] | null> =>
    parseReportPolicy(await resolveTxt(`_smtp._tls.${domain}`, signal));

  const count = async (session: TlsSession): Promise<void> => {
    if (reporter() === null || session.domain.startsWith('[')) return;
    const day = today();
    if ((await targetsOf(session.domain, stop.signal)) !== null) counter.count(session, day);
  };

  const sendTo = async (
    target: ReportTarget,
    counts: DomainCounts,
    from: Reporter,
    signal: AbortSignal,
  ): Promise<boolean> => {
    // A refusal for good is an end, too: tomorrow there is another report.
    if (target.kind === 'https') {
      const status = await options.post(target.url, encodeReport(buildReport(counts, from)), signal);
      return status >= 200 && status < 500;
    }
    const mail = buildReportMail(counts, { reporter: from, to: target.address, nowMs: clock.wallMs() });
    const code = await options.mail(mail, target.address, signal);
    return code < 400 || code >= 500;
  };

  /** True when there is nothing more to do for it. */
  const settle = async (counts: DomainCounts, from: Reporter, signal: AbortSignal): Promise<boolean> => {
    if (clock.wallMs() - Date.parse(`${counts.day}T00:00:00Z`) > (maxAgeDays + 1) * 24 * hourMs) return true;
    try {
      for (const target of (await targetsOf(counts.domain, signal)) ?? []) {
        if (mayTell(target) && !(await sendTo(target, counts, from, signal))) return false;
      }
      return true;
    } catch (error) {
      signal.throwIfAborted();
      log.debug('tls-report', { reason: messageOf(error) });
      return false;
    }
  };

  const sendDue = async (signal: AbortSignal): Promise<void> => {
    const from = reporter();
    for (const counts of counter.finished(today())) {
      if (from === null || (await settle(counts, from, signal))) counter.remove(counts);
    }
    await counter.save();
  };

  return {
    record(session) {
      count(session).catch((error: unknown) => {
        if (!stop.signal.aborted) log.debug('tls-session-not-counted', { reason: messageOf(error) });
      });
    },
    async run(signal) {
      try {
        while (!signal.aborted) {
          // §4.1: not everybody at midnight.
          await clock.sleep(hourMs * (0.5 + random()), signal);
          await sendDue(signal).catch((error: unknown) => {
            if (!signal.aborted) log.warn('tls-reports', { reason: messageOf(error) });
          });
        }
      } catch (error) {
        if (!signal.aborted) throw error;
      } finally {
        stop.abort();
        await counter.save().catch((error: unknown) => {
          log.warn('tls-reports-not-saved', { reason: messageOf(error) });
        });
      }
    },
  };
}
