/**
 * Hetzner DNS in the Cloud API. Documentation: https://docs.hetzner.cloud/reference/cloud#tag/zones and
 * #tag/zone-rrsets (changes are actions that run on; `ttl: null` means the zone's default), with errors,
 * pages and rate limits as in the chapters of the same names. The older dns.hetzner.com has ended.
 */
import * as v from 'valibot';
import { absoluteName, relativeName, withParents } from '../name.ts';
import {
  type DnsProvider,
  type HeldRecordSet,
  type ProviderContext,
  type ProviderDefinition,
  type ProviderErrorCode,
  requireCredential,
  type Zone,
} from '../provider.ts';
import { createHttpApi, type HttpAnswer } from './http-api.ts';
import { readAnswer } from './read-answer.ts';
import { refuseConflicts, withMinimumTtl } from './reconcile.ts';
import { fromZoneFile } from './values.ts';

export const hetzner: ProviderDefinition = {
  name: 'hetzner',
  title: 'Hetzner',
  credentials: [
    { variable: 'HCLOUD_TOKEN', title: 'API token of the project that holds the zone', secret: true },
  ],
  instructions: 'Make a token with "Read & Write" at https://console.hetzner.cloud, Security, API tokens',
  nameServerPattern: /(^|\.)(ns\.hetzner\.com|ns\.hetzner\.de|first-ns\.de|second-ns\.de|second-ns\.com)$/,
  create: async (credentials, context) =>
    createHetzner(requireCredential(credentials, 'HCLOUD_TOKEN'), context),
};

const zonesSchema = v.object({
  zones: v.array(
    v.object({
      id: v.number(),
      name: v.string(),
      mode: v.optional(v.string(), 'primary'),
      ttl: v.number(),
      authoritative_nameservers: v.optional(v.object({ assigned: v.optional(v.array(v.string()), []) })),
    }),
  ),
});
const setsSchema = v.object({
  rrsets: v.array(
    v.object({
      name: v.string(),
      type: v.string(),
      ttl: v.nullable(v.number()),
      records: v.array(v.object({ value: v.string() })),
    }),
  ),
  meta: v.object({ pagination: v.object({ next_page: v.nullable(v.number()) }) }),
});
const actionSchema = v.object({
  action: v.object({
    id: v.number(),
    status: v.picklist(['running', 'success', 'error']),
    error: v.nullish(v.object({ code: v.string(), message: v.string() })),
  }),
});
const errorSchema = v.object({ error: v.object({ code: v.string(), message: v.string() }) });

const codes: Readonly<Record<string, ProviderErrorCode>> = {
  unauthorized: 'wrong-credentials',
  forbidden: 'not-allowed',
  token_readonly: 'not-allowed',
  rate_limit_exceeded: 'rate-limited',
  invalid_input: 'rejected',
  uniqueness_error: 'conflict',
  // Another change of the zone is under way: passes by itself.
  conflict: 'unavailable',
  locked: 'unavailable',
};

const minimumTtlSec = 60;
const pageSize = 50;
const maxPages = 500;
const actionPauseMs = 500;
const maxActionPolls = 120;

function createHetzner(token: string, context: ProviderContext): DnsProvider {
  const api = createHttpApi({
    title: 'Hetzner',
    baseUrl: context.baseUrl ?? 'https://api.hetzner.cloud/v1',
    context,
    secrets: [token],
    headers: () => ({ authorization: `Bearer ${token}` }),
    explain({ status, json }) {
      const parsed = v.safeParse(errorSchema, json);
      if (status < 300 || !parsed.success) return null;
      const { code, message } = parsed.output.error;
      const known = codes[code];
      return { message: `${message} (${code})`, ...(known === undefined ? {} : { code: known }) };
    },
  });
  const setsPath = (zone: Zone) => `/zones/${encodeURIComponent(zone.id)}/rrsets`;
  const setPath = (zone: Zone, name: string, type: string) =>
    `${setsPath(zone)}/${encodeURIComponent(relativeName(name, zone.name) || '@')}/${type}`;

  const finish = async (answer: HttpAnswer, signal: AbortSignal): Promise<void> => {
    let { action } = readAnswer(api, actionSchema, answer);
    for (let poll = 0; action.status === 'running'; poll++) {
      if (poll >= maxActionPolls) throw api.error('unavailable', 'a change is not finished after a minute');
      await context.sleep(actionPauseMs, signal);
      const next = await api.request('GET', `/actions/${action.id}`, { signal });
      action = readAnswer(api, actionSchema, next).action;
    }
    if (action.status === 'error') {
      throw api.error('rejected', action.error?.message ?? 'a change failed without a reason');
    }
  };
  const zoneNamed = async (name: string, signal: AbortSignal) => {
    const answer = await api.request('GET', '/zones', { signal, query: { name } });
    return readAnswer(api, zonesSchema, answer).zones.find((zone) => zone.name === name);
  };
  const list: DnsProvider['list'] = async (zone, names, { signal }) => {
    if (names.length === 0) return [];
    const found: HeldRecordSet[] = [];
    const defaultTtl = (await zoneNamed(zone.name, signal))?.ttl ?? minimumTtlSec;
    for (let page: number | null = 1; page !== null && page <= maxPages;) {
      const query = { page: String(page), per_page: String(pageSize) };
      const answer = await api.request('GET', setsPath(zone), { signal, query });
      const { rrsets, meta } = readAnswer(api, setsSchema, answer);
      for (const set of rrsets) {
        const name = absoluteName(set.name, zone.name);
        if (!names.includes(name)) continue;
        const values = set.records.map(({ value }) => fromZoneFile(set.type, value, zone.name));
        found.push({
          name,
          type: set.type,
          ttlSec: set.ttl ?? defaultTtl,
          values: [...new Set(values)].sort(),
        });
      }
      page = meta.pagination.next_page;
    }
    return found;
  };
  const put = async (
    zone: Zone,
    set: HeldRecordSet,
    held: HeldRecordSet | undefined,
    signal: AbortSignal,
  ) => {
    const records = set.values.map((value) => ({ value }));
    if (held === undefined) {
      const name = relativeName(set.name, zone.name) || '@';
      const body = { name, type: set.type, ttl: set.ttlSec, records };
      await finish(await api.request('POST', setsPath(zone), { signal, body }), signal);
      return;
    }
    const path = `${setPath(zone, set.name, set.type)}/actions`;
    // Both set a state, so that saying them twice does no harm.
    if (held.values.join('\n') !== [...set.values].sort().join('\n')) {
      const request = { signal, body: { records }, repeatable: true };
      await finish(await api.request('POST', `${path}/set_records`, request), signal);
    }
    if (held.ttlSec !== set.ttlSec) {
      const request = { signal, body: { ttl: set.ttlSec }, repeatable: true };
      await finish(await api.request('POST', `${path}/change_ttl`, request), signal);
    }
  };

  return {
    atomic: false,
    unsupportedTypes: [],
    minimumTtlSec,
    list,

    async findZone(name, { signal }) {
      for (const candidate of withParents(name)) {
        const zone = await zoneNamed(candidate, signal);
        if (zone === undefined) continue;
        if (zone.mode !== 'primary') {
          throw api.error('zone-not-found', `it is only a secondary of ${candidate}`, {
            fix: 'Publish the records on the primary server of the zone',
          });
        }
        const assigned = zone.authoritative_nameservers?.assigned ?? [];
        return {
          name: zone.name,
          id: String(zone.id),
          nameServers: assigned.map((one) => one.replace(/\.$/, '')),
        };
      }
      throw api.error('zone-not-found', `the project has no zone that holds ${name}`, {
        fix: "Take a token of the project that the zone is in: a token reaches one project's zones only",
      });
    },

    async upsert(zone, wanted, { signal }) {
      const sets = withMinimumTtl(wanted, minimumTtlSec);
      if (sets.length === 0) return;
      const held = await list(zone, [...new Set(sets.map((set) => set.name))], { signal });
      await refuseConflicts({ list: async () => held }, zone, sets, { signal });
      for (const set of sets) {
        const there = held.find((one) => one.name === set.name && one.type === set.type);
        await put(zone, set, there, signal);
      }
    },

    async delete(zone, keys, { signal }) {
      for (const { name, type } of keys) {
        const answer = await api.request('DELETE', setPath(zone, name, type), { signal, accept: [404] });
        if (answer.status !== 404) await finish(answer, signal);
      }
    },
  };
}
