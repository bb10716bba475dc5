/** Providers whose interface knows single records: the record-set verbs on top of four plain calls. */
import type { CallOptions, DnsProvider, HeldRecordSet, RecordSetKey, Zone } from '../provider.ts';
import {
  groupRecords,
  type HeldRecord,
  isOf,
  reconcile,
  refuseConflicts,
  withMinimumTtl,
} from './reconcile.ts';

export interface PlainRecord extends RecordSetKey {
  /** Canonical. */
  readonly value: string;
  readonly ttlSec: number;
}

export interface RecordCalls {
  /** At least every record at these names; more do no harm. */
  list(zone: Zone, names: readonly string[], options: CallOptions): Promise<readonly HeldRecord[]>;
  create(zone: Zone, record: PlainRecord, options: CallOptions): Promise<void>;
  update(zone: Zone, id: string, record: PlainRecord, options: CallOptions): Promise<void>;
  /** A record that is gone already is no error. */
  remove(zone: Zone, id: string, options: CallOptions): Promise<void>;
  /** Makes the changes take effect, where the provider wants to be told. */
  commit?(zone: Zone, options: CallOptions): Promise<void>;
}

export function recordProvider(
  calls: RecordCalls,
  traits: Pick<DnsProvider, 'findZone' | 'unsupportedTypes' | 'minimumTtlSec'>,
): DnsProvider {
  const list: DnsProvider['list'] = async (zone, names, options) => {
    if (names.length === 0) return [];
    const records = await calls.list(zone, names, options);
    return groupRecords(records.filter((record) => names.includes(record.name)));
  };

  const applySet = async (
    zone: Zone,
    set: HeldRecordSet,
    held: readonly HeldRecord[],
    options: CallOptions,
  ): Promise<boolean> => {
    const changes = reconcile(held.filter(isOf(set)), set);
    const record = (value: string): PlainRecord => ({
      name: set.name,
      type: set.type,
      ttlSec: set.ttlSec,
      value,
    });
    for (const { id, value } of changes.update) await calls.update(zone, id, record(value), options);
    for (const value of changes.create) await calls.create(zone, record(value), options);
    for (const id of changes.remove) await calls.remove(zone, id, options);
    return changes.update.length + changes.create.length + changes.remove.length > 0;
  };

  return {
    ...traits,
    atomic: false,
    list,

    async upsert(zone, wanted, options) {
      const sets = withMinimumTtl(wanted, traits.minimumTtlSec);
      if (sets.length === 0) return;
      const names = [...new Set(sets.map((set) => set.name))];
      const held = await calls.list(zone, names, options);
      await refuseConflicts({ list: async () => groupRecords(held) }, zone, sets, options);
      let changed = false;
      for (const set of sets) changed = (await applySet(zone, set, held, options)) || changed;
      if (changed) await calls.commit?.(zone, options);
    },

    async delete(zone, keys, options) {
      if (keys.length === 0) return;
      const names = [...new Set(keys.map((key) => key.name))];
      const held = await calls.list(zone, names, options);
      const doomed = held.filter((record) => keys.some((key) => isOf(key)(record)));
      for (const { id } of doomed) await calls.remove(zone, id, options);
      if (doomed.length > 0) await calls.commit?.(zone, options);
    },
  };
}
