/**
 * What the supervisor writes down about a running service, so that its successor can take the service in
 * hand again after the supervisor itself was killed. On tmpfs: it must not outlive a reboot.
 */
import { createHash } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import * as v from 'valibot';
import type { Service } from './service.ts';

const natural = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const recordSchema = v.strictObject({
  pid: natural,
  startTicks: natural,
  fingerprint: v.string(),
  ready: v.boolean(),
});

export type ServiceRecord = v.InferOutput<typeof recordSchema>;

/** Changes whenever the service would be started differently. */
export function fingerprint({ command, args, identity, env }: Service): string {
  return createHash('sha256')
    .update(JSON.stringify([command, args, identity, env]))
    .digest('hex')
    .slice(0, 16);
}

/** Synchronous on purpose: between a spawn and its record there must be no moment to be killed in. */
export function writeRecord(path: string, record: ServiceRecord): void {
  writeFileSync(`${path}.tmp`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

/** The record, or undefined when there is none that can be read. */
export function readRecord(path: string): ServiceRecord | undefined {
  try {
    const result = v.safeParse(recordSchema, JSON.parse(readFileSync(path, 'utf8')));
    return result.success ? result.output : undefined;
  } catch {
    return undefined;
  }
}

export function removeRecord(path: string): void {
  rmSync(path, { force: true });
}
