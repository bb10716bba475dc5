/** How the certificate stands, for console, status page and the DNS planner. Pure. */
import type { Problem } from '../contract/status.ts';
import { covers } from './credentials.ts';
import { type Explanation, plainTime } from './explain.ts';
import type { PlanInput } from './plan.ts';
import type { Situation } from './watch.ts';

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
  readonly lastFailure?: Failure;
  /** Of the account with the authority: what a CAA record may be bound to (RFC 8657). */
  readonly accountUrl?: string;
  /** What the operator should mend. */
  readonly problems: readonly Problem[];
}

export interface Failure extends Explanation {
  readonly atMs: number;
}

export interface StatusInput {
  readonly situation: Situation;
  readonly nextActionMs?: number | undefined;
  readonly isWorking?: boolean;
  /** A failure that is not in the history. */
  readonly passingFailure?: Failure | undefined;
}

export function statusOf({
  situation,
  nextActionMs,
  isWorking = false,
  passingFailure,
}: StatusInput): CertificateStatus {
  const { plan, account, wantedNames } = situation;
  const { current, history, nowMs, source } = plan;
  const lastFailure = source === 'acme' ? (passingFailure ?? history.lastFailure) : undefined;
  const state = stateOf(plan);
  const problems: Problem[] = [];
  if (lastFailure !== undefined) {
    const until = nextActionMs === undefined ? '' : `. Next attempt: ${plainTime(nextActionMs)}`;
    problems.push({ path: 'tls', message: lastFailure.message + until, fix: lastFailure.fix });
  }
  if (state === 'valid' && current !== undefined) {
    const missing = wantedNames.filter((name) => !covers(current, name));
    if (missing.length > 0) problems.push(missingNames(missing));
  }
  return {
    state: isWorking ? 'working' : state,
    names: current?.names ?? [],
    problems,
    ...(current === undefined ? {} : { issuer: current.issuer, notAfterMs: current.notAfterMs }),
    ...(nextActionMs === undefined || nextActionMs < nowMs ? {} : { nextActionMs }),
    ...(lastFailure === undefined ? {} : { lastFailure }),
    ...(account?.url === undefined ? {} : { accountUrl: account.url }),
  };
}

function missingNames(names: readonly string[]): Problem {
  const which = names.length === 1 ? 'that name does' : 'those names do';
  return {
    path: 'tls',
    message: `The certificate is not for ${names.join(' and ')}: ${which} not lead here`,
    fix: 'Publish the DNS records of the relay with "chatmail-build dns push"; the relay notices by itself',
  };
}

function stateOf({ source, current, name, nowMs }: PlanInput): CertificateState {
  if (source === 'self-signed') return 'self-signed';
  if (current === undefined || current.isOwn || !covers(current, name)) return 'missing';
  return current.notAfterMs <= nowMs ? 'expired' : 'valid';
}
