/**
 * What a push would do: from the wanted records, what the provider holds, and which of that is ours. Pure.
 * Nothing is planned for a record that is fine by meaning, and values of other purposes are carried along.
 */
import type { RecordSet, WantedRecord } from '../contract/dns-records.ts';
import { judge, type JudgementContext, mergedValues } from './meaning.ts';
import type { HeldRecordSet, RecordSetKey } from './provider.ts';
import { canonicalValues } from './rdata.ts';

export interface Change extends RecordSetKey {
  /** What is there now; null when nothing is. */
  readonly before: HeldRecordSet | null;
  /** What will be there; null to remove it. */
  readonly after: HeldRecordSet | null;
  /** Half a line for people. */
  readonly reason: string;
  /** True when something goes that we did not publish: to be asked for by itself. */
  readonly replacesForeign: boolean;
}

/** Changes that may be made together; the next step waits until they are visible. */
export interface PushStep {
  readonly title: string;
  readonly changes: readonly Change[];
}

export interface PushPlan {
  readonly steps: readonly PushStep[];
  /** Already right. */
  readonly fine: readonly WantedRecord[];
  /** What this provider can't hold. */
  readonly unsupported: readonly WantedRecord[];
}

/** Values that an earlier push of ours published. */
export type OwnedSets = readonly Pick<RecordSet, 'name' | 'type' | 'values'>[];

export interface PlanInput {
  readonly wanted: readonly WantedRecord[];
  /** Everything at the names of `wanted`. */
  readonly held: readonly HeldRecordSet[];
  readonly owned: OwnedSets;
  readonly unsupportedTypes: readonly string[];
  readonly judgement: JudgementContext;
}

/**
 * The order keeps mail whole: names and keys exist before anything points to them, mail is led to the relay
 * next, and what tells others to refuse mail comes last.
 */
const stepTitles = ['Addresses, names and keys', 'Mail exchanger', 'Policies'] as const;

function stepOf(wanted: WantedRecord): 0 | 1 | 2 {
  switch (wanted.purpose) {
    case 'address':
    case 'alias':
    case 'dkim':
    case 'spf':
    case 'service':
      return 0;
    case 'mx':
      return 1;
    default:
      return 2;
  }
}

export function planPush(input: PlanInput): PushPlan {
  const steps: [Change[], Change[], Change[]] = [[], [], []];
  const fine: WantedRecord[] = [];
  const unsupported: WantedRecord[] = [];
  const removed = new Set<string>();
  for (const wanted of input.wanted) {
    if (input.unsupportedTypes.includes(wanted.type)) {
      unsupported.push(wanted);
      continue;
    }
    const change = planRecord(wanted, input);
    if (change === null) {
      fine.push(wanted);
      continue;
    }
    const step = steps[stepOf(wanted)];
    for (const obstacle of obstacles(wanted, input)) {
      const key = `${obstacle.name} ${obstacle.type}`;
      if (!removed.has(key)) step.push(obstacle);
      removed.add(key);
    }
    step.push(change);
  }
  return {
    steps: steps.flatMap((changes, index) =>
      changes.length === 0 ? [] : { title: stepTitles[index] ?? '', changes },
    ),
    fine,
    unsupported,
  };
}

const alteredReasons = {
  proxied: "the provider's proxy answers in its place, and a proxy carries no mail",
  alias: 'the provider answers with the addresses of another name',
  routed: 'the provider answers different things to different people',
} as const;

/** Null when what is there is fine. */
function planRecord(wanted: WantedRecord, input: PlanInput): Change | null {
  const at = (type: string) =>
    input.held.find((set) => set.name === wanted.name && set.type === type) ?? null;
  const before = at(wanted.type);
  const after = { name: wanted.name, type: wanted.type, ttlSec: wanted.ttlSec };
  if (before?.altered !== undefined) {
    const reason = alteredReasons[before.altered];
    const values = canonicalValues(wanted.type, wanted.values);
    return { ...after, before, after: { ...after, values }, reason, replacesForeign: true };
  }
  const judgement = judge(wanted, before?.values ?? [], input.judgement);
  if (judgement.state === 'fine') return null;
  if (wanted.purpose === 'alias' && before === null && hasAddresses(wanted.name, input)) return null;
  const dropped = judgement.drop.filter((value) => !owns(input.owned, wanted, value));
  return {
    name: wanted.name,
    type: wanted.type,
    before,
    after: { ...after, values: mergedValues(wanted, judgement) },
    reason: judgement.state === 'missing' ? wanted.why : judgement.reason,
    replacesForeign: dropped.length > 0,
  };
}

/** An alias may just as well be the addresses themselves. */
function hasAddresses(name: string, input: PlanInput): boolean {
  const sets = input.held.filter((set) => set.name === name && (set.type === 'A' || set.type === 'AAAA'));
  const plain = sets.every((set) => set.altered === undefined);
  const values = sets.flatMap((set) => set.values);
  return plain && values.length > 0 && values.every((value) => input.judgement.addresses.includes(value));
}

/** A CNAME stands alone at its name (RFC 1034 §3.6.2): whatever is in the way must go first. */
function obstacles(wanted: WantedRecord, input: PlanInput): readonly Change[] {
  return input.held
    .filter((set) => set.name === wanted.name && set.type !== wanted.type)
    .filter((set) => set.type === 'CNAME' || wanted.type === 'CNAME')
    .map((set) => ({
      name: set.name,
      type: set.type,
      before: set,
      after: null,
      reason: `it stands in the way of the ${wanted.type} record`,
      replacesForeign: !set.values.every((value) => owns(input.owned, set, value)),
    }));
}

function owns(owned: OwnedSets, key: RecordSetKey, value: string): boolean {
  return owned.some((set) => set.name === key.name && set.type === key.type && set.values.includes(value));
}

/**
 * The plan without the changes that replace what is not ours, and without those that depend on them: what
 * can be done when the operator says no to the rest.
 */
export function withoutReplacements(plan: PushPlan): PushPlan {
  const refused = new Set(
    plan.steps.flatMap(({ changes }) => changes.filter((one) => one.replacesForeign).map(({ name }) => name)),
  );
  const blocked = (change: Change) => {
    if (change.replacesForeign) return true;
    // Beside a foreign CNAME nothing can be added at its name.
    const cname = plan.steps.some(({ changes }) =>
      changes.some((one) => one.name === change.name && one.type === 'CNAME' && one.before !== null),
    );
    return refused.has(change.name) && (cname || change.type === 'CNAME');
  };
  const steps = plan.steps
    .map((step) => ({ ...step, changes: step.changes.filter((change) => !blocked(change)) }))
    .filter((step) => step.changes.length > 0);
  return { ...plan, steps };
}

/** What a push did, as it must be known to take it back. */
export type DoneChange = Pick<Change, 'name' | 'type' | 'before' | 'after'>;

/**
 * The way back: last things first, each in one step of its own kind. A set that is no longer what the push
 * left is somebody else's work by now, and counts as foreign.
 */
export function planUndo(done: readonly DoneChange[], held: readonly HeldRecordSet[]): PushPlan {
  const changes = done.toReversed().flatMap((change): Change[] => {
    const now = held.find((set) => set.name === change.name && set.type === change.type) ?? null;
    if (sameSet(now, change.before)) return [];
    const reason = change.before === null ? 'the push had added it' : 'as it was before the push';
    const replacesForeign = !sameSet(now, change.after);
    const { name, type, before: after } = change;
    return [{ name, type, before: now, after, reason, replacesForeign }];
  });
  // What the push removed comes back only after what took its place is gone.
  const gone = changes.filter(({ after }) => after === null);
  const back = changes.filter(({ after }) => after !== null);
  const steps = [
    { title: 'What had been added', changes: gone },
    { title: 'What had been there', changes: back },
  ];
  return { steps: steps.filter((step) => step.changes.length > 0), fine: [], unsupported: [] };
}

function sameSet(a: HeldRecordSet | null, b: HeldRecordSet | null): boolean {
  if (a === null || b === null) return a === b;
  return a.altered === b.altered && [...a.values].sort().join('\n') === [...b.values].sort().join('\n');
}
