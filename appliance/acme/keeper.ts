/**
 * Keeps the relay's certificate: gets one, renews it, puts it to use, and says how it stands. Everything it
 * knows is on DATA, so it may be stopped at any moment and goes on where it was.
 *
 * The private key stays the same from one certificate to the next: TLSA records (RFC 7671 §5.1, `3 1 1`) and
 * clients that remember a key survive a renewal. A new one is made for the first certificate, when the
 * authority does not take the old one (a key known to be compromised), and when asked for.
 */
import { type Clock, systemClock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../contract/config.ts';
import type { Challenges } from './challenges.ts';
import { privateKeyPem, readCertificate, refusalOf } from './credentials.ts';
import { explain, type Explanation, plainTime } from './explain.ts';
import { ensureAccount, makeKey, readAccount, readHistory, writeAccount, writeHistory } from './history.ts';
import { install, type InstallPaths, saveWaiting } from './install.ts';
import { runOrder } from './order-process.ts';
import type { OrderFailure, OrderOutcome } from './order-protocol.ts';
import { orderRequest } from './order-request.ts';
import {
  afterFailure,
  afterInstall,
  afterIssue,
  type FailureInput,
  namesToOrder,
  type OrderReason,
  planNext,
} from './plan.ts';
import { createLookUp, type LookUpAddresses } from './preflight.ts';
import { type CertificateStatus, type Failure, type StatusInput, statusOf } from './status.ts';
import { createWatch, type Situation, type Watch } from './watch.ts';

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

export interface CertificateKeeper {
  /** Works until `signal` fires; never rejects. */
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
const firstPassingPauseMs = 15_000;
const maxPassingPauseMs = 10 * 60_000;

export function createCertificateKeeper(options: CertificateKeeperOptions): CertificateKeeper {
  return new Keeper(options);
}

class Keeper implements CertificateKeeper {
  readonly #options: CertificateKeeperOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #watch: Watch;
  #status: CertificateStatus = { state: 'missing', names: [], problems: [] };
  #wake = new AbortController();
  #isAsked = false;
  #wantsNewKey = false;
  /** Attempts that came to nothing without anybody's fault, in a row. */
  #passingFailures = 0;
  #passingFailure: (Failure & { readonly untilMs: number }) | undefined;

  constructor(options: CertificateKeeperOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? Math.random;
    const lookUp = options.lookUp ?? createLookUp();
    this.#watch = createWatch({ ...options, lookUp, clock: this.#clock, random: this.#random });
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
    if (this.#passingFailure !== undefined) this.#passingFailure = { ...this.#passingFailure, untilMs: 0 };
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
        untilMs = this.#clock.wallMs() + this.#passingPauseMs();
      }
      const sleepMs = Math.min(Math.max(untilMs - this.#clock.wallMs(), 0), maxSleepMs);
      await this.#clock.sleep(sleepMs, AbortSignal.any([signal, this.#wake.signal])).catch(() => {});
    }
  }

  /** Does what is due, and returns when to look again. */
  async #step(signal: AbortSignal): Promise<number> {
    const situation = await this.#watch.look(signal);
    const { nowMs, current } = situation.plan;
    const plan = planNext(situation.plan);
    if (plan.kind === 'idle') {
      this.#report({ situation });
      return Number.MAX_SAFE_INTEGER;
    }
    if (plan.kind === 'install') {
      await this.#install(situation, signal);
      return this.#clock.wallMs();
    }
    if (plan.kind === 'order' || this.#isAsked) {
      const isAsked = this.#isAsked;
      const restsUntilMs = this.#passingFailure?.untilMs ?? 0;
      if (!isAsked && restsUntilMs > nowMs) {
        this.#report({ situation, nextActionMs: restsUntilMs });
        return restsUntilMs;
      }
      const reason = plan.kind === 'order' && !isAsked ? plan.reason : 'asked';
      const replaces = plan.kind === 'order' ? plan.replaces : current?.renewalId;
      await this.#order(situation, { reason, replaces }, signal);
      this.#isAsked = false;
      return this.#clock.wallMs();
    }
    this.#report({ situation, nextActionMs: plan.untilMs });
    const { nextCheckMs } = this.#watch;
    return nextCheckMs > nowMs ? Math.min(plan.untilMs, nextCheckMs) : plan.untilMs;
  }

  async #order(
    situation: Situation,
    { reason, replaces }: { readonly reason: OrderReason; readonly replaces: string | undefined },
    signal: AbortSignal,
  ): Promise<void> {
    const { config, paths, log, challenges, orderProgram } = this.#options;
    const { plan, domainLookUp, currentPem } = situation;
    const hasDns = challenges.dns !== undefined;
    // A name that leads nowhere is proven in the zone or not at all.
    if (domainLookUp?.kind === 'none' && !hasDns) {
      return this.#pass({
        message: `${plan.name} has no address in the DNS yet`,
        fix: 'Publish the DNS records of the relay; "chatmail-build dns check" says which are missing',
      });
    }
    this.#report({ situation, isWorking: true });
    const names = namesToOrder(plan);
    log.info('ordering', { reason, names: names.join(' ') });
    let account = await ensureAccount(paths.acme, plan.directory, config.tls.contact);
    const usesNewKey = this.#wantsNewKey || plan.history.newKey || plan.current?.isOwn !== false;
    const keyPem = usesNewKey ? makeKey() : (privateKeyPem(currentPem) ?? makeKey());
    let outcome: OrderOutcome;
    try {
      const request = orderRequest({
        config,
        history: plan.history,
        names,
        hasDns,
        account,
        keyPem,
        replaces,
      });
      outcome = await runOrder(request, {
        program: orderProgram,
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
      return this.#pass({
        message: `The order came to no end: ${messageOf(error)}`,
        fix: 'Restart the relay; if it stays, report it with the text above',
      });
    }
    if (outcome.kind === 'failed') return this.#refused(situation, outcome.failure);
    return this.#keep(situation, keyPem, outcome);
  }

  /** Saves what was issued; the next step puts it to use. */
  async #keep(
    { plan }: Situation,
    keyPem: string,
    { chainPem, proven, leftOut }: Extract<OrderOutcome, { kind: 'issued' }>,
  ): Promise<void> {
    const { paths, log } = this.#options;
    const pem = `${keyPem}${chainPem.trimEnd()}\n`;
    const nowMs = this.#clock.wallMs();
    const issued = readCertificate(pem);
    const refusal = refusalOf(pem, plan.name, nowMs);
    const isEarly = issued !== undefined && issued.notBeforeMs > nowMs;
    if (issued === undefined || (refusal !== undefined && !isEarly)) {
      return this.#fail(plan.history.subject, {
        message: `The certificate authority gave a certificate that cannot be used: ${refusal ?? 'it cannot be read'}`,
        fix: 'The relay tries again by itself; if it stays, choose another authority with tls.directory',
      });
    }
    // Before the history: what is issued must not be ordered again.
    await saveWaiting(pem, paths);
    this.#wantsNewKey = false;
    this.#passingFailures = 0;
    this.#passingFailure = undefined;
    const done = {
      fingerprint: issued.fingerprint,
      directory: plan.directory,
      proven,
      leftOut: leftOut.flatMap(({ identifier }) => (identifier === undefined ? [] : [identifier])),
    };
    await writeHistory(paths.acme, afterIssue(plan.history, done, nowMs));
    log.info('issued', { until: plainTime(issued.notAfterMs), issuer: issued.issuer });
    if (!isEarly) return;
    // It stays where it is, and is put to use once the clock agrees.
    await this.#fail(plan.history.subject, {
      message: `The clock says ${plainTime(nowMs)}, and the new certificate is valid only from ${plainTime(issued.notBeforeMs)}`,
      fix: 'Let the relay reach its time servers (UDP port 123 outwards)',
    });
  }

  async #refused({ plan, domainLookUp }: Situation, failure: OrderFailure): Promise<void> {
    const explanation = explain(failure, {
      name: plan.name,
      directory: plan.directory,
      nowMs: this.#clock.wallMs(),
      addresses: domainLookUp?.kind === 'found' ? domainLookUp.addresses : [],
    });
    // Nothing was tried: nothing is used up.
    if (failure.kind === 'unreachable') return this.#pass(explanation);
    const newKey = failure.code === 'badPublicKey' || failure.code === 'badCSR';
    return this.#fail(plan.history.subject, { ...explanation, retryAfterMs: failure.retryAfterMs, newKey });
  }

  /** A failure that costs nothing to repeat, and is forgotten at a restart. */
  #pass(explanation: Explanation): void {
    const nowMs = this.#clock.wallMs();
    this.#passingFailure = { ...explanation, atMs: nowMs, untilMs: nowMs + this.#passingPauseMs() };
    this.#options.log.warn('no certificate', { reason: explanation.message });
  }

  #passingPauseMs(): number {
    const plainMs = Math.min(firstPassingPauseMs * 2 ** this.#passingFailures, maxPassingPauseMs);
    this.#passingFailures += 1;
    return Math.floor(plainMs * (1 + this.#random() / 4));
  }

  /** A failure that counts, remembered on DATA. */
  async #fail(subject: string, failure: FailureInput): Promise<void> {
    const { paths, log } = this.#options;
    this.#passingFailures = 0;
    this.#passingFailure = undefined;
    log.error('no certificate', { reason: failure.message, fix: failure.fix });
    const history = await readHistory(paths.acme, subject);
    await writeHistory(paths.acme, afterFailure(history, failure, this.#clock.wallMs(), this.#random()));
  }

  async #install(situation: Situation, signal: AbortSignal): Promise<void> {
    const { paths, reload, ports, log } = this.#options;
    const { plan, waitingPem } = situation;
    if (waitingPem === undefined) return;
    this.#report({ situation, isWorking: true });
    const context = { paths, reload, ports, name: plan.name, clock: this.#clock, signal };
    const outcome = await install(waitingPem, context);
    if (outcome.kind === 'rolled-back') {
      return this.#fail(plan.history.subject, {
        message: `The new certificate could not be put to use, the one before is in use again: ${outcome.reason}`,
        fix: 'Restart the relay; if it stays, report it with the text above',
      });
    }
    this.#watch.forget();
    await writeHistory(paths.acme, afterInstall(plan.history));
    log.info('certificate in use', { until: plainTime(plan.waiting?.notAfterMs ?? 0) });
  }

  #report(input: Omit<StatusInput, 'passingFailure'>): void {
    const failure = this.#passingFailure;
    const { message = '', fix = '', atMs = 0 } = failure ?? {};
    this.#status = statusOf({
      ...input,
      passingFailure: failure === undefined ? undefined : { message, fix, atMs },
    });
  }
}

/** The account's URL with the authority of the configuration, for CAA records; undefined before the first order. */
export async function readAccountUrl(
  acmeDirectory: string,
  directoryUrl: string,
): Promise<string | undefined> {
  return (await readAccount(acmeDirectory, directoryUrl))?.url;
}
