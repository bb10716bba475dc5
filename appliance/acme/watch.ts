/** Looks at everything there is to know about the certificate: files, the authority's word, and the DNS. */
import { readTextIfPresent } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { certificateNames, certificateSource } from '../contract/certificate.ts';
import type { Config } from '../contract/config.ts';
import { type CertificateFacts, covers, readCertificate, refusalOf } from './credentials.ts';
import { plainTime } from './explain.ts';
import { type Account, type History, readAccount, readHistory, writeHistory } from './history.ts';
import { type InstallPaths, waitingPath } from './install.ts';
import { type PlanInput, renewalAfter } from './plan.ts';
import { findExtraNames, type LookUp, type LookUpAddresses } from './preflight.ts';
import { defaultCheckMs, fetchRenewalInfo } from './renewal-info.ts';

/** What is known at one moment. */
export interface Situation {
  readonly plan: PlanInput;
  /** Names under the domain that a certificate should have. */
  readonly wantedNames: readonly string[];
  readonly account: Account | undefined;
  /** Key and chain in use. */
  readonly currentPem: string;
  /** Key and chain that were issued and are not in use yet; only when they are good. */
  readonly waitingPem: string | undefined;
  /** Where the domain leads; undefined for addresses, and where nothing is ordered. */
  readonly domainLookUp: LookUp | undefined;
}

export interface WatchOptions {
  readonly config: Pick<Config, 'domain' | 'tls'>;
  readonly paths: InstallPaths;
  readonly lookUp: LookUpAddresses;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
}

export interface Watch {
  look(signal: AbortSignal): Promise<Situation>;
  /** When the authority is to be asked about the certificate in use again; in the past when never. */
  readonly nextCheckMs: number;
  /** Another certificate is in use: ask at the next look. */
  forget(): void;
}

export function createWatch(options: WatchOptions): Watch {
  const { config, paths, lookUp, clock, random, log } = options;
  const { directory, challenge } = config.tls;
  const [name = '', ...extras] = certificateNames(config.domain);
  const source = certificateSource(config);
  let nextCheckMs = 0;

  /** The history with the authority's latest word on the certificate (RFC 9773 §4.2, §4.3). */
  const askForRenewal = async (
    current: CertificateFacts,
    history: History,
    nowMs: number,
    signal: AbortSignal,
  ): Promise<History> => {
    const { renewalId, fingerprint, isOwn } = current;
    if (isOwn || renewalId === undefined) return history;
    const { issued } = history;
    // Another authority knows nothing of it. Where it came from may be forgotten: then it does no harm to ask.
    if (issued !== undefined && issued.fingerprint !== fingerprint) return history;
    if (issued !== undefined && issued.directory !== directory) return history;
    // A clock that was set back must not keep us from asking.
    if (nextCheckMs > nowMs && nextCheckMs < nowMs + 4 * defaultCheckMs) return history;
    nextCheckMs = nowMs + defaultCheckMs;
    try {
      const info = await fetchRenewalInfo(directory, renewalId, { nowMs, signal });
      if (info === undefined) return history;
      nextCheckMs = info.checkAfterMs;
      const renewal = renewalAfter(info, fingerprint, history.renewal, random());
      if (JSON.stringify(renewal) === JSON.stringify(history.renewal)) return history;
      const { explanationUrl } = info;
      log.info('renewal window', {
        start: plainTime(info.startMs),
        end: plainTime(info.endMs),
        ...(explanationUrl === undefined ? {} : { explanation: explanationUrl }),
      });
      const next = { ...history, renewal };
      await writeHistory(paths.acme, next);
      return next;
    } catch (error) {
      signal.throwIfAborted();
      // What was known stays; without anything known the lifetime decides.
      log.warn('renewal information', { error: messageOf(error) });
      return history;
    }
  };

  return {
    get nextCheckMs() {
      return nextCheckMs;
    },
    forget() {
      nextCheckMs = 0;
    },
    async look(signal) {
      const nowMs = clock.wallMs();
      const isActive = source === 'acme';
      let history = await readHistory(paths.acme, `${directory} ${name}`);
      const currentPem = (await readTextIfPresent(paths.tlsCredentials)) ?? '';
      const current = readCertificate(currentPem);
      let waitingPem = await readTextIfPresent(waitingPath(paths));
      if (waitingPem !== undefined && refusalOf(waitingPem, name, nowMs) !== undefined)
        waitingPem = undefined;
      if (isActive && current !== undefined) history = await askForRenewal(current, history, nowMs, signal);
      let domainLookUp: LookUp | undefined;
      let extraNames: readonly string[] = [];
      if (isActive && config.domain.kind === 'name') {
        domainLookUp = await lookUp(name, signal);
        const kept = extras.filter((extra) => current !== undefined && covers(current, extra));
        // Proven in the zone, it does not matter where they lead.
        if (challenge === 'dns-01') extraNames = extras;
        else extraNames = await findExtraNames(domainLookUp, extras, kept, lookUp, signal);
      }
      const waiting = waitingPem === undefined ? undefined : readCertificate(waitingPem);
      return {
        plan: { source, directory, name, extraNames, current, waiting, history, nowMs },
        wantedNames: [name, ...extras],
        account: await readAccount(paths.acme, directory),
        currentPem,
        waitingPem,
        domainLookUp,
      };
    },
  };
}
