/**
 * Providers that know records and not record sets: which calls turn the records that are there into a set.
 * A value that stays is left alone, an old one is turned into a new one in place where possible, and
 * deletions come last, so that a name never goes without an answer in between.
 */
import {
  type CallOptions,
  type DnsProvider,
  type HeldRecordSet,
  ProviderError,
  type RecordSetKey,
  type Zone,
} from '../provider.ts';

export interface HeldRecord extends RecordSetKey {
  readonly id: string;
  /** Canonical. */
  readonly value: string;
  readonly ttlSec: number;
  readonly altered?: 'proxied';
}

export interface RecordChanges {
  readonly update: readonly { readonly id: string; readonly value: string }[];
  readonly create: readonly string[];
  readonly remove: readonly string[];
}

/** @param held the records of the set as they are; those of other sets must be filtered out */
export function reconcile(held: readonly HeldRecord[], wanted: HeldRecordSet): RecordChanges {
  const missing = new Set(wanted.values);
  const rewrite: HeldRecord[] = [];
  const spare: HeldRecord[] = [];
  for (const record of held) {
    if (!missing.delete(record.value)) {
      spare.push(record);
    } else if (record.ttlSec !== wanted.ttlSec || record.altered !== wanted.altered) {
      rewrite.push(record);
    }
  }
  const create = [...missing];
  const update = rewrite.map(({ id, value }) => ({ id, value }));
  while (create.length > 0 && spare.length > 0) {
    const record = spare.shift();
    const value = create.shift();
    if (record !== undefined && value !== undefined) update.push({ id: record.id, value });
  }
  return { update, create, remove: spare.map((record) => record.id) };
}

/** Records as record sets. A set has one TTL: the smallest of its records' (RFC 2181 §5.2). */
export function groupRecords(records: readonly HeldRecord[]): readonly HeldRecordSet[] {
  const sets = new Map<string, HeldRecord[]>();
  for (const record of records) {
    const key = `${record.name} ${record.type}`;
    sets.set(key, [...(sets.get(key) ?? []), record]);
  }
  return [...sets.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const altered = group.find((record) => record.altered !== undefined)?.altered;
    return {
      name: first.name,
      type: first.type,
      ttlSec: Math.min(...group.map((record) => record.ttlSec)),
      values: [...new Set(group.map((record) => record.value))].sort(),
      ...(altered === undefined ? {} : { altered }),
    };
  });
}

/** True when `record` belongs to the set `key`. */
export function isOf(key: RecordSetKey): (record: RecordSetKey) => boolean {
  return (record) => record.name === key.name && record.type === key.type;
}

/**
 * The sets as the provider will hold them: TTLs raised to its minimum.
 * @throws RangeError for a set without values
 */
export function withMinimumTtl(
  sets: readonly HeldRecordSet[],
  minimumTtlSec: number,
): readonly HeldRecordSet[] {
  return sets.map((set) => {
    if (set.values.length === 0) throw new RangeError(`The set ${set.name} ${set.type} has no values`);
    return { ...set, ttlSec: Math.max(set.ttlSec, minimumTtlSec) };
  });
}

/**
 * Providers differ in what they say, or do not say, when a CNAME would stand beside something else.
 * @throws ProviderError 'conflict'
 */
export async function refuseConflicts(
  provider: Pick<DnsProvider, 'list'>,
  zone: Zone,
  sets: readonly HeldRecordSet[],
  options: CallOptions,
): Promise<void> {
  const held = await provider.list(zone, [...new Set(sets.map((set) => set.name))], options);
  for (const set of sets) {
    const other = held.find(
      (one) =>
        one.name === set.name && one.type !== set.type && (set.type === 'CNAME' || one.type === 'CNAME'),
    );
    if (other !== undefined) {
      const message = `${set.name} has a ${other.type} record, so it can't have a ${set.type} record`;
      throw new ProviderError('conflict', message);
    }
  }
}
