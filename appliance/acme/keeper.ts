/**
 * Keeps the relay's certificate: gets one, renews it, puts it to use, and says how it stands. Everything it
 * knows is on DATA, so it may be stopped at any moment and goes on where it was.
 *
 * The private key stays the same from one certificate to the next: TLSA records (RFC 7671 §5.1, `3 1 1`) and
 * clients that remember a key survive a renewal. A new one is made for the first certificate, when the
 * authority does not take the old one (a key known to be compromised), and when asked for.
 */
import { readTextIfPresent } from '../base/atomic-file.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { certificateNames, certificateSource } from '../contract/certificate.ts';
import type { Config } from '../contract/config.ts';
import type { Problem } from '../contract/status.ts';
import { type Challenges, possibleChallenges } from './challenges.ts';
import { type CertificateFacts, covers, privateKeyPem, readCertificate, refusalOf } from './credentials.ts';
import { explain, type Explanation, plainTime } from './explain.ts';
import {
  type Account,
  ensureAccount,
  type History,
  makeKey,
  readAccount,
  readHistory,
  writeAccount,
  writeHistory,
} from './history.ts';
import { type ChallengeType, identifierOf } from './identifier.ts';
import { install, type InstallPaths, saveWaiting, waitingPath } from './install.ts';
import { runOrder } from './order-process.ts';
import type { OrderFailure, OrderOutcome, OrderRequest } from './order-protocol.ts';
import {
  afterFailure,
  afterInstall,
  afterIssue,
  namesToOrder,
  type OrderReason,
  type PlanInput,
  planNext,
  renewalAfter,
  renewalCheckMs,
} from './plan.ts';
import { createLookUp, findExtraNames, type LookUp, type LookUpAddresses } from './preflight.ts';
import { fetchRenewalInfo } from './renewal-info.ts';

export interface CertificateKeeperOptions {
  readonly config: Pick<Config, 'domain' | 'tls'>;
  readonly paths: InstallPaths;
  /** Path of the program that orders: certificate-order.js beside the other programs. */
  readonly orderProgram: string;
  readonly challenges: Challenges;
  /** Lets every service read the certificate again; resolves when they were told. */
  readonly reload: (signal: AbortSignal) => Promise<void>;
  /** TLS ports on this machine that present the certificate. */
  readonly ports: readonly number[];
  readonly log: Log;
  readonly clock?: Clock;
  /** In [0, 1). */
  readonly random?: () => number;
  readonly lookUp?: LookUpAddresses;
}

export type CertificateState =
  /** The relay signs for itself, and is meant to. */
  | 'self-signed'
  /** There is none from an authority yet. */
  | 'missing'
  /** One is being ordered or put to use. */
  | 'working'
  | 'valid'
  | 'expired';

export interface CertificateStatus {
  readonly state: CertificateState;
  readonly issuer?: string;
  readonly names: readonly string[];
  readonly notAfterMs?: number;
  /** When something will be done next. */
  readonly nextActionMs?: number;
  readonly lastFailure?: Explanation & { readonly atMs: number };
  /** Of the account with the authority: what a CAA record may be bound to (RFC 8657). */
  readonly accountUrl?: string;
  /** What the operator should mend, for console and status page. */
  readonly problems: readonly Problem[];
}

export interface CertificateKeeper {
  /** Works until `signal` fires; never rejects for a reason but that. */
  run(signal: AbortSignal): Promise<void>;
  status(): CertificateStatus;
  /** Orders now, whatever the plan says; `newKey` for a key that may be known to others. */
  requestRenewal(options?: { readonly newKey?: boolean }): void;
  /** Looks again at once: the clock was set, or the network has come up. */
  wake(): void;
}

/** No longer than this without a look: the clock may be set, and names come to lead here. */
const maxSleepMs = 3_600_000;
/** Faults that use up nothing at the authority: pauses start short and double. */
const firstOfflinePauseMs = 15_000;
const maxOfflinePauseMs = 10 * 60_000;

export function createCertificateKeeper(options: CertificateKeeperOptions): CertificateKeeper {
  return new Keeper(options);
}

/** What is known at one moment. */
interface Situation {
  readonly plan: PlanInput;
  readonly account: Account | undefined;
  readonly currentPem: string;
  readonly waitingPem: string | undefined;
  readonly domainLookUp: LookUp | undefined;
}

class Keeper implements CertificateKeeper {
  readonly #options: CertificateKeeperOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #lookUp: LookUpAddresses;
  readonly #names: readonly [string, ...string[]];
  readonly #source: 'acme' | 'self-signed';
  #status: CertificateStatus = { state: 'missing', names: [], problems: [] };
  #wake = new AbortController();
  #isAsked = false;
  #wantsNewKey = false;
  #checkRenewalMs = 0;
  /** Orders and installations that came to nothing without anybody's fault, in a row. */
  #offline = 0;
  #offlineUntilMs = 0;
  #offlineFailure: (Explanation & { readonly atMs: number }) | undefined;

  constructor(options: CertificateKeeperOptions) {
    const { config } = options;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    this.#lookUp = options.lookUp ?? createLookUp();
    const [name, ...extras] = certificateNames(config.domain);
    if (name === undefined) throw new RangeError('A domain without a name');
    this.#names = [name, ...extras];
    this.#source = certificateSource(config);
  }

  status(): CertificateStatus {
    return this.#status;
  }

  requestRenewal({ newKey = false }: { readonly newKey?: boolean } = {}): void {
    this.#wantsNewKey ||= newKey;
    this.#isAsked = true;
    this.#wake.abort();
  }

  wake(): void {
    this.#offlineUntilMs = 0;
    this.#wake.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#wake = new AbortController();
      let untilMs: number;
      try {
        untilMs = await this.#step(signal);
      } catch (error) {
        if (signal.aborted) return;
        // DATA is full or failing: that is not for us to mend, and may pass.
        this.#options.log.error('certificate', { error: messageOf(error) });
        untilMs = this.#clock.wallMs() + this.#offlinePauseMs();
      }
      const sleepMs = Math.min(Math.max(untilMs - this.#clock.wallMs(), 0), maxSleepMs);
      await this.#clock.sleep(sleepMs, AbortSignal.any([signal, this.#wake.signal])).catch(() => {});
    }
  }

  /** Does what is due, and returns when to look again. */
  async #step(signal: AbortSignal): Promise<number> {
    const situation = await this.#look(signal);
    const plan = planNext(situation.plan);
    if (plan.kind === 'idle') {
      this.#report(situation, undefined);
      return Number.MAX_SAFE_INTEGER;
    }
    if (plan.kind === 'install') {
      await this.#install(situation, signal);
      return this.#clock.wallMs();
    }
    const asked = this.#isAsked;
    if (plan.kind === 'order' || asked) {
      const { nowMs } = situation.plan;
      if (!asked && this.#offlineUntilMs > nowMs) {
        this.#report(situation, this.#offlineUntilMs);
        return this.#offlineUntilMs;
      }
      const reason = plan.kind === 'order' && !asked ? plan.reason : 'asked';
      const replaces = plan.kind === 'order' ? plan.replaces : situation.plan.current?.renewalId;
      await this.#order(situation, reason, replaces, signal);
      this.#isAsked = false;
      return this.#clock.wallMs();
    }
    this.#report(situation, plan.untilMs);
    return this.#checkRenewalMs > situation.plan.nowMs
      ? Math.min(plan.untilMs, this.#checkRenewalMs)
      : plan.untilMs;
  }

  /** Reads everything, and asks the authority and the resolver where that is due. */
  async #look(signal: AbortSignal): Promise<Situation> {
    const { config, paths } = this.#options;
    const [name, ...extras] = this.#names;
    const { directory } = config.tls;
    const nowMs = this.#clock.wallMs();
    let history = await readHistory(paths.acme, `${directory} ${name}`);
    const currentPem = (await readTextIfPresent(paths.tlsCredentials)) ?? '';
    const current = readCertificate(currentPem);
    let waitingPem = await readTextIfPresent(waitingPath(paths));
    if (waitingPem !== undefined && refusalOf(waitingPem, name, nowMs) !== undefined) waitingPem = undefined;
    const isIdle = this.#source === 'self-signed';
    if (!isIdle && current !== undefined)
      history = await this.#askForRenewal(current, history, nowMs, signal);
    const lacks = extras.filter((extra) => current === undefined || !covers(current, extra));
    const needsNames = !isIdle && config.domain.kind === 'name';
    const domainLookUp = needsNames ? await this.#lookUp(name, signal) : undefined;
    const kept = extras.filter((extra) => !lacks.includes(extra));
    const extraNames =
      domainLookUp === undefined
        ? []
        : config.tls.challenge === 'dns-01'
          ? extras // Proven in the zone, wherever they lead.
          : await findExtraNames(domainLookUp, extras, kept, this.#lookUp, signal);
    return {
      plan: {
        source: this.#source,
        directory,
        name,
        extraNames,
        current,
        waiting: waitingPem === undefined ? undefined : readCertificate(waitingPem),
        history,
        nowMs,
      },
      account: await readAccount(paths.acme, directory),
      currentPem,
      waitingPem,
      domainLookUp,
    };
  }

  /** The history with the authority's latest word on the certificate (RFC 9773 §4.2, §4.3). */
  async #askForRenewal(
    current: CertificateFacts,
    history: History,
    nowMs: number,
    signal: AbortSignal,
  ): Promise<History> {
    const { config, paths, log } = this.#options;
    const { renewalId, fingerprint, isOwn } = current;
    if (isOwn || renewalId === undefined) return history;
    const { issued } = history;
    // Another authority knows nothing of it. Where it came from may be forgotten: then it does no harm to ask.
    if (issued !== undefined && issued.fingerprint !== fingerprint) return history;
    if (issued !== undefined && issued.directory !== config.tls.directory) return history;
    // A clock that was set back must not keep us from asking.
    if (this.#checkRenewalMs > nowMs && this.#checkRenewalMs < nowMs + 4 * renewalCheckMs) return history;
    this.#checkRenewalMs = nowMs + renewalCheckMs;
    try {
      const info = await fetchRenewalInfo(config.tls.directory, renewalId, { nowMs, signal });
      if (info === undefined) return history;
      this.#checkRenewalMs = info.checkAfterMs;
      const renewal = renewalAfter(info, fingerprint, history.renewal, this.#random());
      if (JSON.stringify(renewal) === JSON.stringify(history.renewal)) return history;
      log.info('renewal window', { start: plainTime(info.startMs), end: plainTime(info.endMs) });
      const next = { ...history, renewal };
      await writeHistory(paths.acme, next);
      return next;
    } catch (error) {
      signal.throwIfAborted();
      // What was known stays; without anything known the lifetime decides.
      log.warn('renewal information', { error: messageOf(error) });
      return history;
    }
  }

  async #order(
    situation: Situation,
    reason: OrderReason,
    replaces: string | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { config, paths, log, challenges } = this.#options;
    const { plan, domainLookUp } = situation;
    const hasDns = challenges.dns !== undefined;
    // A name that leads nowhere is proven in the zone or not at all.
    if (domainLookUp?.kind === 'none' && !hasDns) {
      return this.#fail({
        message: `${plan.name} has no address in the DNS yet`,
        fix: 'Publish the DNS records of the relay; "chatmail-build dns check" says which are missing',
      });
    }
    this.#report(situation, undefined, 'working');
    const names = namesToOrder(plan);
    log.info('ordering', { reason, names: names.join(' ') });
    let account = await ensureAccount(paths.acme, config.tls.directory, config.tls.contact);
    const present = plan.current?.isOwn === false ? privateKeyPem(situation.currentPem) : undefined;
    const useNewKey = this.#wantsNewKey || plan.history.newKey;
    const keyPem = useNewKey ? makeKey() : (present ?? makeKey());
    const request = this.#request(situation, names, { account, keyPem, replaces });
    let outcome: OrderOutcome;
    try {
      outcome = await runOrder(request, {
        program: this.#options.orderProgram,
        challenges,
        onAccount: async (url) => {
          account = { ...account, url, contact: config.tls.contact };
          await writeAccount(paths.acme, account);
        },
        log,
        signal,
      });
    } catch (error) {
      signal.throwIfAborted();
      return this.#fail({
        message: `The order came to no end: ${messageOf(error)}`,
        fix: 'Restart the relay; if it stays, report it with the text above',
      });
    }
    if (outcome.kind === 'failed') return this.#refused(situation, outcome.failure);
    const pem = keyPem + outcome.chainPem.trimEnd() + '\n';
    const refusal = refusalOf(pem, plan.name, this.#clock.wallMs());
    const issued = readCertificate(pem);
    if (refusal !== undefined || issued === undefined) {
      const isEarly = issued !== undefined && issued.notBeforeMs > this.#clock.wallMs();
      return this.#burn(situation, {
        message: `The certificate authority gave a certificate that cannot be used: ${refusal ?? 'it cannot be read'}`,
        fix: isEarly
          ? 'Is the clock wrong? Let the relay reach its time servers (UDP port 123 outwards)'
          : 'The relay tries again by itself; if it stays, choose another authority with tls.directory',
      });
    }
    // Before the history: what is issued must not be ordered again.
    await saveWaiting(pem, paths);
    this.#wantsNewKey = false;
    this.#offline = 0;
    this.#offlineFailure = undefined;
    const { directory } = config.tls;
    const leftOut = outcome.leftOut.flatMap(({ identifier }) =>
      identifier === undefined ? [] : [identifier],
    );
    const { proven } = outcome;
    const done = { fingerprint: issued.fingerprint, directory, proven, leftOut };
    await writeHistory(paths.acme, afterIssue(plan.history, done, this.#clock.wallMs()));
    log.info('issued', { until: plainTime(issued.notAfterMs), issuer: issued.issuer });
  }

  #request(
    { plan }: Situation,
    names: readonly string[],
    { account, keyPem, replaces }: { account: Account; keyPem: string; replaces: string | undefined },
  ): OrderRequest {
    const { config, challenges } = this.#options;
    const { tls, domain } = config;
    const hasDns = challenges.dns !== undefined;
    const waysFor = (name: string): ChallengeType[] => {
      const all = possibleChallenges(identifierOf(name).type, tls.challenge, hasDns);
      const last = plan.history.proven[name];
      // What worked before comes first.
      return last !== undefined && all.includes(last)
        ? [last, ...all.filter((way) => way !== last)]
        : [...all];
    };
    return {
      kind: 'order',
      directoryUrl: tls.directory,
      accountKeyPem: account.keyPem,
      ...(account.url === undefined ? {} : { accountUrl: account.url }),
      contact: tls.contact,
      tellContact: account.url !== undefined && account.contact !== tls.contact,
      names: names.map((name) => ({
        identifier: { ...identifierOf(name) },
        required: name === plan.name,
        challenges: waysFor(name),
      })),
      // Let's Encrypt gives certificates for addresses with this profile only; others know none.
      profile: tls.profile === '' && domain.kind === 'ip' ? 'shortlived' : tls.profile,
      profileRequired: tls.profile !== '',
      certificateKeyPem: keyPem,
      ...(replaces === undefined ? {} : { replaces }),
    };
  }

  async #refused(situation: Situation, failure: OrderFailure): Promise<void> {
    const { plan, domainLookUp } = situation;
    const context = {
      name: plan.name,
      directory: plan.directory,
      nowMs: this.#clock.wallMs(),
      addresses: domainLookUp?.kind === 'found' ? domainLookUp.addresses : [],
    };
    const explanation = explain(failure, context);
    // Nothing was tried: nothing is used up.
    if (failure.kind === 'unreachable') return this.#fail(explanation);
    const newKey = failure.code === 'badPublicKey' || failure.code === 'badCSR';
    return this.#burn(situation, { ...explanation, retryAfterMs: failure.retryAfterMs, newKey });
  }

  /** A failure that costs nothing to repeat, forgotten at a restart. */
  #fail(explanation: Explanation): void {
    const nowMs = this.#clock.wallMs();
    this.#offlineUntilMs = nowMs + this.#offlinePauseMs();
    this.#offlineFailure = { ...explanation, atMs: nowMs };
    this.#options.log.warn('no certificate', { reason: explanation.message });
  }

  #offlinePauseMs(): number {
    const plainMs = Math.min(firstOfflinePauseMs * 2 ** this.#offline, maxOfflinePauseMs);
    this.#offline += 1;
    return Math.floor(plainMs * (1 + this.#random() / 4));
  }

  /** A failure that counts, remembered on DATA. */
  async #burn(situation: Situation, failure: Parameters<typeof afterFailure>[1]): Promise<void> {
    const { paths, log } = this.#options;
    this.#offlineFailure = undefined;
    this.#offline = 0;
    log.error('no certificate', { reason: failure.message, fix: failure.fix });
    const { subject } = situation.plan.history;
    const history = await readHistory(paths.acme, subject);
    await writeHistory(paths.acme, afterFailure(history, failure, this.#clock.wallMs(), this.#random()));
  }

  async #install(situation: Situation, signal: AbortSignal): Promise<void> {
    const { paths, reload, ports, log } = this.#options;
    const { plan, waitingPem } = situation;
    if (waitingPem === undefined) return;
    this.#report(situation, undefined, 'working');
    const context = { paths, reload, ports, name: plan.name, clock: this.#clock, signal };
    const outcome = await install(waitingPem, context);
    if (outcome.kind === 'rolled-back') {
      return this.#burn(situation, {
        message: `The new certificate could not be put to use, the one before is in use again: ${outcome.reason}`,
        fix: 'Restart the relay; if it stays, report it with the text above',
      });
    }
    this.#checkRenewalMs = 0;
    await writeHistory(paths.acme, afterInstall(plan.history));
    log.info('certificate in use', { until: plainTime(plan.waiting?.notAfterMs ?? 0) });
  }

  #report({ plan, account }: Situation, nextActionMs: number | undefined, doing?: 'working'): void {
    const { current, history, nowMs } = plan;
    const lastFailure = this.#offlineFailure ?? history.lastFailure;
    const state = doing ?? stateOf(plan);
    const missing =
      state === 'valid' ? this.#names.filter((name) => current !== undefined && !covers(current, name)) : [];
    const problems: Problem[] = [];
    if (lastFailure !== undefined) {
      const until = nextActionMs === undefined ? '' : `. Next attempt: ${plainTime(nextActionMs)}`;
      problems.push({ path: 'tls', message: lastFailure.message + until, fix: lastFailure.fix });
    }
    if (missing.length > 0) {
      problems.push({
        path: 'tls',
        message: `The certificate is not for ${missing.join(' and ')}: ${missing.length === 1 ? 'that name does' : 'those names do'} not lead here`,
        fix: 'Publish the DNS records of the relay with "chatmail-build dns push"; the relay notices by itself',
      });
    }
    this.#status = {
      state,
      names: current?.names ?? [],
      problems,
      ...(current === undefined ? {} : { issuer: current.issuer, notAfterMs: current.notAfterMs }),
      ...(nextActionMs === undefined || nextActionMs < nowMs ? {} : { nextActionMs }),
      ...(lastFailure === undefined ? {} : { lastFailure }),
      ...(account?.url === undefined ? {} : { accountUrl: account.url }),
    };
  }
}

function stateOf({ source, current, name, nowMs }: PlanInput): CertificateState {
  if (source === 'self-signed') return 'self-signed';
  if (current === undefined || current.isOwn || !covers(current, name)) return 'missing';
  return current.notAfterMs <= nowMs ? 'expired' : 'valid';
}

/** The account's URL with the authority of the configuration, for CAA records; undefined before the first order. */
export async function readAccountUrl(
  acmeDirectory: string,
  directoryUrl: string,
): Promise<string | undefined> {
  return (await readAccount(acmeDirectory, directoryUrl))?.url;
}
