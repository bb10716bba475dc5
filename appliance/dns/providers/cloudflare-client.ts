/**
 * Cloudflare, through its own SDK (the tree-shakable client: two resources instead of all).
 * Documentation: https://developers.cloudflare.com/api/resources/dns/subresources/records/ ("batch": one
 * database transaction, deletes before patches before puts before posts), …/manage-dns-records/reference/ttl
 * (1 is automatic, 60 the least), …/manage-dns-records/reference/proxied-dns-records.
 */
import { APIConnectionError, APIError, APIUserAbortError } from 'cloudflare/error';
import {
  BaseRecords,
  type RecordBatchParams,
  type RecordCreateParams,
} from 'cloudflare/resources/dns/records';
import { BaseZones } from 'cloudflare/resources/zones/zones';
import { createClient } from 'cloudflare/tree-shakable';
import * as v from 'valibot';
import { withParents } from '../name.ts';
import {
  type DnsProvider,
  type HeldRecordSet,
  type ProviderContext,
  ProviderError,
  type ProviderErrorCode,
  type Zone,
} from '../provider.ts';
import { canonicalValue } from '../rdata.ts';
import { pauseBeforeRetry, redact } from './http-api.ts';
import { readAnswer } from './read-answer.ts';
import {
  groupRecords,
  type HeldRecord,
  isOf,
  reconcile,
  refuseConflicts,
  withMinimumTtl,
} from './reconcile.ts';
import { fromAbsolute, splitCaa, splitPriority, withoutFinalDot } from './values.ts';

const zoneSchema = v.object({
  id: v.string(),
  name: v.string(),
  name_servers: v.optional(v.array(v.string()), []),
});
const fieldSchema = v.optional(v.union([v.string(), v.number()]));
const recordSchema = v.object({
  id: v.string(),
  name: v.string(),
  type: v.string(),
  ttl: v.number(),
  content: v.optional(v.string(), ''),
  priority: v.optional(v.number()),
  proxied: v.optional(v.boolean(), false),
  data: v.optional(v.record(v.string(), v.unknown()), {}),
});
const pageSchema = v.object({ count: v.number() });
const srvSchema = v.object({
  priority: fieldSchema,
  weight: fieldSchema,
  port: fieldSchema,
  target: v.string(),
});
const minimumTtlSec = 60;
/** What "automatic" (1) stands for. */
const automaticTtlSec = 300;
const pageSize = 1000;
/** The smallest plan's limit for one batch. */
const maxBatch = 200;
const requestTimeoutMs = 30_000;

export function createCloudflare(token: string, context: ProviderContext): DnsProvider {
  const client = createClient({
    resources: [BaseRecords, BaseZones],
    apiToken: token,
    // Not from the environment: that may hold another account's.
    apiKey: null,
    apiEmail: null,
    userServiceKey: null,
    baseURL: context.baseUrl ?? 'https://api.cloudflare.com/client/v4',
    fetch: context.fetch,
    timeout: requestTimeoutMs,
    // We are patient ourselves, in the same way as with every other provider.
    maxRetries: 0,
    logLevel: 'off',
  });
  const api = {
    error: (code: ProviderErrorCode, message: string, options?: ErrorOptions) =>
      new ProviderError(code, `Cloudflare: ${redact(message, [token])}`, options),
  };
  const errorOf = (error: unknown): unknown => {
    if (error instanceof APIUserAbortError) return error;
    if (error instanceof APIConnectionError) {
      return api.error('unavailable', `cannot be reached: ${causeText(error)}`, { cause: error });
    }
    if (!(error instanceof APIError)) return error;
    const message = error.errors.map((one) => `${one.message ?? ''} (${one.code ?? ''})`).join('; ');
    return api.error(codeOf(error), message === '' ? `answers ${error.status ?? ''}` : message, {
      cause: error,
    });
  };
  /** Runs a call of the SDK; its errors become ours. */
  const call = async <T>(signal: AbortSignal, work: () => Promise<T>, repeatable = true): Promise<T> => {
    for (let tried = 1; ; tried++) {
      signal.throwIfAborted();
      try {
        return await work();
      } catch (thrown) {
        signal.throwIfAborted();
        const error = errorOf(thrown);
        if (!(error instanceof ProviderError)) throw error;
        const headers = thrown instanceof APIError ? thrown.headers : undefined;
        const pauseMs = pauseBeforeRetry(
          error.code,
          tried,
          repeatable,
          headers ?? new Headers(),
          context.clock(),
        );
        if (pauseMs === null) throw error;
        await context.sleep(pauseMs, signal);
      }
    }
  };

  const records = (zone: Zone, signal: AbortSignal): Promise<HeldRecord[]> =>
    call(signal, async () => {
      const held: HeldRecord[] = [];
      const first = await client.dns.records.list({ zone_id: zone.id, per_page: pageSize }, { signal });
      for await (const page of first.iterPages()) {
        // The SDK takes an answer without a list for an empty list.
        readAnswer(api, pageSchema, { json: page.result_info });
        held.push(...page.result.map((record) => heldOf(readAnswer(api, recordSchema, { json: record }))));
      }
      return held;
    });
  const batch = (zone: Zone, changes: Omit<RecordBatchParams, 'zone_id'>, signal: AbortSignal) =>
    call(signal, () => client.dns.records.batch({ zone_id: zone.id, ...changes }, { signal }), false);

  return {
    atomic: true,
    unsupportedTypes: [],
    minimumTtlSec,

    async findZone(name, { signal }) {
      for (const candidate of withParents(name)) {
        const page = await call(signal, () => client.zones.list({ name: candidate }, { signal }));
        const found = page.result.map((zone) => readAnswer(api, zoneSchema, { json: zone }))[0];
        if (found !== undefined) return { name: found.name, id: found.id, nameServers: found.name_servers };
      }
      throw api.error('zone-not-found', `the token reaches no zone that holds ${name}`);
    },

    async list(zone, names, { signal }) {
      if (names.length === 0) return [];
      return groupRecords((await records(zone, signal)).filter((record) => names.includes(record.name)));
    },

    async upsert(zone, wanted, { signal }) {
      const sets = withMinimumTtl(wanted, minimumTtlSec);
      if (sets.length === 0) return;
      const held = await records(zone, signal);
      await refuseConflicts({ list: async () => groupRecords(held) }, zone, sets, { signal });
      const deletes: { id: string }[] = [];
      const puts: Writable[] = [];
      const posts: Writable[] = [];
      for (const set of sets) {
        const changes = reconcile(held.filter(isOf(set)), set);
        deletes.push(...changes.remove.map((id) => ({ id })));
        puts.push(...changes.update.map(({ id, value }) => ({ ...bodyOf(set, value), id })));
        posts.push(...changes.create.map((value) => bodyOf(set, value)));
      }
      const count = deletes.length + puts.length + posts.length;
      if (count === 0) return;
      if (count > maxBatch) throw api.error('rejected', `${count} changes are more than one call takes`);
      // The SDK's types are a union over record types, each of which this is by construction.
      const changes = { deletes, puts, posts } as Omit<RecordBatchParams, 'zone_id'>;
      await batch(zone, changes, signal);
    },

    async delete(zone, keys, { signal }) {
      if (keys.length === 0) return;
      const doomed = (await records(zone, signal)).filter((record) => keys.some((key) => isOf(key)(record)));
      if (doomed.length > 0) await batch(zone, { deletes: doomed.map(({ id }) => ({ id })) }, signal);
    },
  };
}

type Writable = Omit<RecordCreateParams, 'zone_id'>;

function heldOf(record: v.InferOutput<typeof recordSchema>): HeldRecord {
  return {
    id: record.id,
    name: record.name.toLowerCase(),
    type: record.type,
    ttlSec: record.ttl === 1 ? automaticTtlSec : record.ttl,
    value: valueOf(record),
    ...(record.proxied ? { altered: 'proxied' as const } : {}),
  };
}

function valueOf({ type, content, priority, data }: v.InferOutput<typeof recordSchema>): string {
  if (type === 'MX') return fromAbsolute('MX', `${priority ?? 0} ${content}`);
  const srv = type === 'SRV' ? v.safeParse(srvSchema, data) : undefined;
  if (srv?.success === true) {
    const { priority: first, weight, port, target } = srv.output;
    return fromAbsolute('SRV', `${first ?? 0} ${weight ?? 0} ${port ?? 0} ${target}`);
  }
  // Old TXT records may lack the quotes that new ones have.
  if (type === 'TXT' && !content.startsWith('"'))
    return canonicalValue('TXT', `"${content.replace(/["\\]/g, '\\$&')}"`);
  return fromAbsolute(type, content);
}

function bodyOf(set: HeldRecordSet, value: string): Writable {
  const { name, type, ttlSec: ttl } = set;
  const base = { name, type, ttl };
  const body = (fields: object) => ({ ...base, ...fields }) as Writable;
  switch (type) {
    case 'A':
    case 'AAAA':
    case 'CNAME':
      return body({ content: withoutFinalDot(type, value), proxied: set.altered === 'proxied' });
    case 'MX': {
      const { priority, rest } = splitPriority(type, value);
      return body({ content: withoutFinalDot(type, rest), priority });
    }
    case 'SRV': {
      const [priority, weight, port, target = ''] = value.split(' ');
      const numbers = { priority: Number(priority), weight: Number(weight), port: Number(port) };
      return body({ data: { ...numbers, target: target.replace(/\.$/, '') } });
    }
    case 'CAA': {
      const { flags, tag, content } = splitCaa(value);
      return body({ data: { flags, tag, value: content } });
    }
    case 'TLSA': {
      const [usage, selector, matching, certificate] = value.split(' ');
      const numbers = { usage: Number(usage), selector: Number(selector), matching_type: Number(matching) };
      return body({ data: { ...numbers, certificate } });
    }
    default:
      return body({ content: value });
  }
}

/** https://developers.cloudflare.com/api: codes that say more than the status they come with. */
function codeOf(error: APIError): ProviderErrorCode {
  const codes = error.errors.map(({ code }) => code);
  const has = (...some: number[]) => codes.some((code) => code !== undefined && some.includes(code));
  // 6003/6111: not even the form of a token. 9109, 1000: no such token. 10000: "Authentication error".
  if (has(6003, 6111, 9109, 1000)) return 'wrong-credentials';
  if (has(81053, 81054, 81055, 81056)) return 'conflict';
  if (error.status === 401) return 'wrong-credentials';
  if (error.status === 403) return 'not-allowed';
  if (error.status === 429) return 'rate-limited';
  if (error.status === undefined || error.status >= 500) return 'unavailable';
  return error.status === 400 || error.status === 409 || error.status === 422 ? 'rejected' : 'unexpected';
}

function causeText(error: Error): string {
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  return cause.cause instanceof Error ? cause.cause.message : cause.message;
}
