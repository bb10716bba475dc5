/**
 * When the address of a machine has changed so surely that it is published. Pure: what was seen and when goes
 * in, what to do comes out.
 *
 * An address is published when it was seen at least twice over some time with no other in between, and not
 * soon after another change. That nothing is seen changes nothing, and no rule here takes a record away.
 */

export type AddressType = 'A' | 'AAAA';
export const addressTypes: readonly AddressType[] = ['A', 'AAAA'];

/** What was seen last of one family, and how steadily. */
export interface Candidate {
  readonly address: string;
  readonly firstMs: number;
  readonly lastMs: number;
  readonly sightings: number;
}

export interface AddressState {
  readonly startedMs: number;
  readonly candidates: Readonly<Record<AddressType, Candidate | null>>;
  /** When we changed a record last; null: not since we started. */
  readonly changedMs: Readonly<Record<AddressType, number | null>>;
  /** In a row. */
  readonly failures: number;
  /** After a failure nothing is tried before. */
  readonly retryMs: number;
}

/** All in milliseconds. */
export const addressTimes = {
  /** Between looks, as long as all is as it should be. */
  look: 5 * 60_000,
  /** Between looks while an address is not yet sure. */
  lookAgain: 30_000,
  /** An address must have been seen over so long. */
  confirm: 2 * 60_000,
  /** Just after the start, when the machine may have been moved, so long is enough. */
  confirmAtStart: 20_000,
  start: 2 * 60_000,
  /** For so long after the start looks come quickly while nothing is known. */
  settle: 10 * 60_000,
  /** Between changes of one record: what happens more often is a fault, and DNS caches would not follow. */
  betweenChanges: 10 * 60_000,
  /** A sighting older than this says nothing about now. */
  stale: 15 * 60_000,
  firstRetry: 60_000,
  maxRetry: 60 * 60_000,
} as const;

export function initialState(nowMs: number): AddressState {
  return {
    startedMs: nowMs,
    candidates: { A: null, AAAA: null },
    changedMs: { A: null, AAAA: null },
    failures: 0,
    retryMs: nowMs,
  };
}

/** @param seen by family; a family of which nothing was seen is left out or null */
export function withSighting(
  state: AddressState,
  seen: Readonly<Partial<Record<AddressType, string | null>>>,
  nowMs: number,
): AddressState {
  const next = (type: AddressType): Candidate | null => {
    const address = seen[type] ?? null;
    const before = state.candidates[type];
    if (address === null) return before;
    if (before?.address !== address || nowMs - before.lastMs > addressTimes.stale) {
      return { address, firstMs: nowMs, lastMs: nowMs, sightings: 1 };
    }
    return { ...before, lastMs: nowMs, sightings: before.sightings + 1 };
  };
  return { ...state, candidates: { A: next('A'), AAAA: next('AAAA') } };
}

/** The address that counts as this machine's; null while there is none to be sure of. */
export function confirmedAddress(state: AddressState, type: AddressType, nowMs: number): string | null {
  const candidate = state.candidates[type];
  if (candidate === null || candidate.sightings < 2 || nowMs - candidate.lastMs > addressTimes.stale) {
    return null;
  }
  const atStart = candidate.firstMs - state.startedMs < addressTimes.start;
  const neededMs = atStart ? addressTimes.confirmAtStart : addressTimes.confirm;
  return candidate.lastMs - candidate.firstMs >= neededMs ? candidate.address : null;
}

/** What the world is told of each family; null when that is not known. */
export type PublishedAddresses = Readonly<Record<AddressType, readonly string[] | null>>;

export type AddressDecision =
  /** Nothing sure is known, or all is as it should be. */
  | { readonly kind: 'keep' }
  | { readonly kind: 'publish'; readonly address: string }
  /** It should be published, but not before. */
  | { readonly kind: 'wait'; readonly untilMs: number }
  /** Several addresses are published, and none of them is this one: a person has to say which goes. */
  | { readonly kind: 'ambiguous'; readonly address: string };

export function decide(
  state: AddressState,
  type: AddressType,
  published: PublishedAddresses,
  nowMs: number,
): AddressDecision {
  const address = confirmedAddress(state, type, nowMs);
  const there = published[type];
  if (address === null || there === null || there.includes(address)) return { kind: 'keep' };
  if (there.length > 1) return { kind: 'ambiguous', address };
  const changed = state.changedMs[type];
  const untilMs = Math.max(
    state.retryMs,
    changed === null ? state.retryMs : changed + addressTimes.betweenChanges,
  );
  return nowMs < untilMs ? { kind: 'wait', untilMs } : { kind: 'publish', address };
}

export function withChange(state: AddressState, type: AddressType, nowMs: number): AddressState {
  return {
    ...state,
    changedMs: { ...state.changedMs, [type]: nowMs },
    failures: 0,
    retryMs: nowMs,
  };
}

export function withFailure(state: AddressState, nowMs: number): AddressState {
  const waitMs = Math.min(addressTimes.firstRetry * 2 ** Math.min(state.failures, 16), addressTimes.maxRetry);
  return { ...state, failures: state.failures + 1, retryMs: nowMs + waitMs };
}

/** How long to wait before looking again. */
export function nextLookMs(
  state: AddressState,
  decisions: readonly AddressDecision[],
  nowMs: number,
): number {
  const unsure = addressTypes.filter((type) => confirmedAddress(state, type, nowMs) === null);
  // The network may come up after us.
  const isStarting = nowMs - state.startedMs < addressTimes.settle && unsure.length === addressTypes.length;
  const isUnsure = isStarting || unsure.some((type) => state.candidates[type] !== null);
  const waits = decisions.flatMap((decision) =>
    decision.kind === 'wait' ? Math.max(decision.untilMs - nowMs, 1000) : [],
  );
  return Math.min(isUnsure ? addressTimes.lookAgain : addressTimes.look, ...waits);
}
