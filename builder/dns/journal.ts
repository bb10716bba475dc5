/**
 * What was pushed to DNS, and what was there before: `dns-state.json` in the key folder. Written before the
 * first change of a push, so that a push cut off in the middle can be taken back too.
 */
import * as v from 'valibot';
import { ConfigError } from '../../appliance/base/errors.ts';
import type { DoneChange, OwnedSets } from '../../appliance/dns/plan.ts';
import type { HeldRecordSet } from '../../appliance/dns/provider.ts';
import { type KeyFolder, keyFileNames, readKeyFile, writeKeyFile } from '../keys.ts';

const setSchema = v.object({
  name: v.string(),
  type: v.string(),
  ttlSec: v.number(),
  values: v.array(v.string()),
  altered: v.optional(v.picklist(['proxied', 'alias', 'routed'])),
});
const changeSchema = v.object({
  name: v.string(),
  type: v.string(),
  before: v.nullable(setSchema),
  after: v.nullable(setSchema),
});
const stateSchema = v.strictObject({
  version: v.literal(1),
  owned: v.array(v.object({ name: v.string(), type: v.string(), values: v.array(v.string()) })),
  pushes: v.array(
    v.object({
      at: v.string(),
      provider: v.string(),
      zone: v.string(),
      changes: v.array(changeSchema),
    }),
  ),
});

export interface PushRecord {
  /** ISO 8601, UTC. */
  readonly at: string;
  readonly provider: string;
  readonly zone: string;
  readonly changes: readonly DoneChange[];
}

export interface Journal {
  readonly owned: OwnedSets;
  /** Oldest first. */
  readonly pushes: readonly PushRecord[];
}

/** More steps back than anybody remembers. */
const maxPushes = 20;

/** @throws ConfigError when the file is not one we wrote */
export async function readJournal(folder: KeyFolder): Promise<Journal> {
  const text = await readKeyFile(folder, keyFileNames.dnsState);
  if (text === null) return { owned: [], pushes: [] };
  const path = `${folder.path}/${keyFileNames.dnsState}`;
  const refuse = (cause?: unknown) =>
    new ConfigError(
      path,
      `${path} is damaged, so it is not known which records are ours`,
      'Remove the file: records that are there are then taken for foreign ones',
      { cause },
    );
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    throw refuse(error);
  }
  const result = v.safeParse(stateSchema, document);
  if (!result.success) throw refuse();
  const { owned, pushes } = result.output;
  return { owned, pushes: pushes.map((push) => ({ ...push, changes: push.changes.map(readChange) })) };
}

type StoredSet = v.InferOutput<typeof setSchema>;

function readChange(change: v.InferOutput<typeof changeSchema>): DoneChange {
  return { ...change, before: readSet(change.before), after: readSet(change.after) };
}

function readSet(set: StoredSet | null): HeldRecordSet | null {
  if (set === null) return null;
  const { altered, ...plain } = set;
  return altered === undefined ? plain : { ...plain, altered };
}

export async function writeJournal(folder: KeyFolder, journal: Journal): Promise<void> {
  const document = { version: 1, owned: journal.owned, pushes: journal.pushes.slice(-maxPushes) };
  await writeKeyFile(folder, keyFileNames.dnsState, `${JSON.stringify(document, null, 1)}\n`);
}

/** The journal with one more push, whose changes may be about to be made. */
export function withPush(journal: Journal, push: PushRecord): Journal {
  const touched = (set: { name: string; type: string }) =>
    push.changes.find((change) => change.name === set.name && change.type === set.type);
  const kept = journal.owned.filter((set) => touched(set) === undefined);
  const owned = push.changes.flatMap((change) => {
    const before = change.before?.values ?? [];
    const earlier = journal.owned.find((set) => set.name === change.name && set.type === change.type);
    const values = (change.after?.values ?? []).filter(
      (value) => !before.includes(value) || earlier?.values.includes(value) === true,
    );
    return values.length === 0 ? [] : { name: change.name, type: change.type, values };
  });
  return { owned: [...kept, ...owned], pushes: [...journal.pushes, push] };
}

/** The journal after its last push was taken back. */
export function withoutLastPush(journal: Journal): Journal {
  const last = journal.pushes.at(-1);
  const owned = journal.owned.flatMap((set) => {
    const change = last?.changes.find((one) => one.name === set.name && one.type === set.type);
    if (change === undefined) return set;
    const values = set.values.filter((value) => change.before?.values.includes(value) === true);
    return values.length === 0 ? [] : { ...set, values };
  });
  return { owned, pushes: journal.pushes.slice(0, -1) };
}
