/** What is to be done about the certificate, and when: from what is known, without doing it. */
import { type CertificateFacts, covers } from './credentials.ts';
import type { History } from './history.ts';
import type { RenewalWindow } from './renewal-info.ts';

const minutes = 60_000;
const hours = 60 * minutes;
const days = 24 * hours;

export interface PlanInput {
  readonly source: 'acme' | 'self-signed';
  /** URL of the authority's directory. */
  readonly directory: string;
  /** The domain: without it a certificate is none. */
  readonly name: string;
  /** Names under the domain that lead here, as far as is known. */
  readonly extraNames: readonly string[];
  /** The certificate in use. */
  readonly current: CertificateFacts | undefined;
  /** One that was issued but is not in use yet, already found good. */
  readonly waiting: CertificateFacts | undefined;
  readonly history: History;
  readonly nowMs: number;
}

export type OrderReason =
  /** None that anybody but ourselves has signed. */
  | 'first'
  /** It is for another name. */
  | 'other-name'
  | 'expired'
  /** It is from another authority than the one that is configured. */
  | 'other-authority'
  | 'renewal'
  /** The authority wants it replaced before its time: revoked, or about to be. */
  | 'called-back'
  /** A name under the domain has come to lead here. */
  | 'more-names'
  | 'asked';

export type Plan =
  /** The relay signs for itself: nothing will ever be due. */
  | { readonly kind: 'idle' }
  | { readonly kind: 'install' }
  | { readonly kind: 'order'; readonly reason: OrderReason; readonly replaces?: string }
  | { readonly kind: 'wait'; readonly untilMs: number; readonly reason: 'renewal' | 'retry' };

export function planNext(input: PlanInput): Plan {
  if (input.source === 'self-signed') return { kind: 'idle' };
  const { history, nowMs } = input;
  const due = whatIsDue(input);
  const notBeforeMs = earliestMs(history, nowMs);
  if (due.kind !== 'wait' && notBeforeMs > nowMs) {
    return { kind: 'wait', untilMs: notBeforeMs, reason: 'retry' };
  }
  return due;
}

/** Without regard to failures. */
function whatIsDue(input: PlanInput): Plan {
  const { current, waiting, name, nowMs, history } = input;
  const { issued } = history;
  const isFromElsewhere = (facts: CertificateFacts) =>
    issued?.fingerprint === facts.fingerprint && issued.directory !== input.directory;
  // One that is in use already was not yet seen on the ports: that is to be done again.
  if (
    waiting !== undefined &&
    covers(waiting, name) &&
    waiting.notAfterMs > nowMs &&
    !isFromElsewhere(waiting)
  ) {
    return { kind: 'install' };
  }
  if (current === undefined || current.isOwn) return { kind: 'order', reason: 'first' };
  if (!covers(current, name)) return { kind: 'order', reason: 'other-name' };
  if (current.notAfterMs <= nowMs) return { kind: 'order', reason: 'expired' };
  const replaces = current.renewalId === undefined ? {} : { replaces: current.renewalId };
  if (isFromElsewhere(current)) return { kind: 'order', reason: 'other-authority' };
  if (history.newKey) return { kind: 'order', reason: 'asked', ...replaces };
  const renewAtMs = renewalTimeMs(current, history);
  if (renewAtMs <= nowMs) {
    const isEarly = nowMs < lifetimeRenewalMs(current);
    return { kind: 'order', reason: isEarly ? 'called-back' : 'renewal', ...replaces };
  }
  const more = input.extraNames.some(
    (extra) => !covers(current, extra) && (history.leftOutUntilMs[extra] ?? 0) <= nowMs,
  );
  if (more) return { kind: 'order', reason: 'more-names', ...replaces };
  return { kind: 'wait', untilMs: renewAtMs, reason: 'renewal' };
}

/** The names to order now: the domain, and extra names that lead here and were not refused a while ago. */
export function namesToOrder({ name, extraNames, history, nowMs }: PlanInput): readonly string[] {
  return [name, ...extraNames.filter((extra) => (history.leftOutUntilMs[extra] ?? 0) <= nowMs)];
}

/** When to renew the certificate in use: by the authority's word, or by its lifetime. */
export function renewalTimeMs(current: CertificateFacts, history: History): number {
  const { renewal } = history;
  if (renewal?.fingerprint === current.fingerprint) return renewal.selectedMs;
  return lifetimeRenewalMs(current);
}

/** After two thirds of its life; of ten days or less after half, as Let's Encrypt advises. */
export function lifetimeRenewalMs({ notBeforeMs, notAfterMs }: CertificateFacts): number {
  const lifetimeMs = notAfterMs - notBeforeMs;
  return notBeforeMs + Math.floor(lifetimeMs * (lifetimeMs <= 10 * days ? 1 / 2 : 2 / 3));
}

/** Somewhere in the window (RFC 9773 §4.2), so that not all relays come at once. `random` is in [0, 1). */
export function selectTimeMs({ startMs, endMs }: RenewalWindow, random: number): number {
  return startMs + Math.floor((endMs - startMs) * random);
}

/**
 * The renewal time from a new answer of the authority: the one drawn before as long as the window stays the
 * same, else a new one.
 */
export function renewalAfter(
  window: RenewalWindow,
  fingerprint: string,
  before: History['renewal'],
  random: number,
): NonNullable<History['renewal']> {
  const { startMs, endMs, explanationUrl } = window;
  const isSame = before?.fingerprint === fingerprint && before.startMs === startMs && before.endMs === endMs;
  return {
    fingerprint,
    startMs,
    endMs,
    selectedMs: isSame ? before.selectedMs : selectTimeMs(window, random),
    ...(explanationUrl === undefined ? {} : { explanationUrl }),
  };
}

/** Let's Encrypt allows five failed validations of a name an hour; each attempt may cost three. */
const firstPauseMs = 15 * minutes;
const maxPauseMs = 12 * hours;
/** A pause that ends later than this was written by a clock that was wrong. */
const maxBelievableMs = 8 * days;

/** How long to pause after the n-th failure in a row: doubling, and up to a quarter more by lot. */
export function pauseMs(failures: number, random: number): number {
  const plainMs = Math.min(firstPauseMs * 2 ** Math.max(0, failures - 1), maxPauseMs);
  return Math.floor(plainMs * (1 + random / 4));
}

function earliestMs({ notBeforeMs = 0 }: History, nowMs: number): number {
  return notBeforeMs > nowMs + maxBelievableMs ? nowMs : notBeforeMs;
}

export interface FailureInput {
  readonly message: string;
  readonly fix: string;
  /** The authority's own word on when to come back. */
  readonly retryAfterMs?: number | undefined;
  /** The next order is for another key. */
  readonly newKey?: boolean;
}

/** The history after a failure that was somebody's fault, and is not to be repeated at once. */
export function afterFailure(
  history: History,
  failure: FailureInput,
  nowMs: number,
  random: number,
): History {
  const failures = history.failures + 1;
  const ownMs = nowMs + pauseMs(failures, random);
  const wantedMs = Math.min(failure.retryAfterMs ?? 0, nowMs + maxBelievableMs);
  return {
    ...history,
    failures,
    lastFailure: { atMs: nowMs, message: failure.message, fix: failure.fix },
    notBeforeMs: Math.max(ownMs, wantedMs),
    newKey: history.newKey || failure.newKey === true,
  };
}

/** Names the authority refused are tried again after a day. */
const leftOutMs = days;

/** The history once a certificate was issued. */
export function afterIssue(
  history: History,
  issued: {
    readonly fingerprint: string;
    readonly directory: string;
    readonly proven: History['proven'];
    readonly leftOut: readonly string[];
  },
  nowMs: number,
): History {
  const { fingerprint, directory, proven, leftOut } = issued;
  return {
    ...history,
    issued: { fingerprint, directory },
    proven: { ...history.proven, ...proven },
    leftOutUntilMs: Object.fromEntries(leftOut.map((name) => [name, nowMs + leftOutMs])),
    newKey: false,
  };
}

/** The history once a certificate is in use. */
export function afterInstall(history: History): History {
  const { subject, proven, leftOutUntilMs, issued, renewal, newKey } = history;
  return {
    subject,
    failures: 0,
    proven,
    leftOutUntilMs,
    newKey,
    ...(issued === undefined ? {} : { issued }),
    ...(renewal === undefined ? {} : { renewal }),
  };
}
