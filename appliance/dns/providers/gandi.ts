/**
 * Gandi LiveDNS. Documentation: https://api.gandi.net/docs/livedns/ (record sets by name and type, PUT
 * creates or replaces) and https://api.gandi.net/docs/authentication/ (personal access tokens).
 */
import * as v from 'valibot';
import { absoluteName, relativeName, withParents } from '../name.ts';
import {
  type DnsProvider,
  type ProviderContext,
  type ProviderDefinition,
  requireCredential,
} from '../provider.ts';
import { createHttpApi } from './http-api.ts';
import { readAnswer } from './read-answer.ts';
import { refuseConflicts, withMinimumTtl } from './reconcile.ts';
import { fromZoneFile } from './values.ts';

export const gandi: ProviderDefinition = {
  name: 'gandi',
  title: 'Gandi LiveDNS',
  credentials: [{ variable: 'GANDIV5_PERSONAL_ACCESS_TOKEN', title: 'Personal access token', secret: true }],
  instructions:
    'Make a personal access token in the organisation\'s settings at https://admin.gandi.net with "Manage domain name technical configurations"',
  nameServerPattern: /(^|\.)(gandi\.net)$/,
  create: async (credentials, context) =>
    createGandi(requireCredential(credentials, 'GANDIV5_PERSONAL_ACCESS_TOKEN'), context),
};

const domainSchema = v.object({ fqdn: v.string() });
const recordsSchema = v.array(
  v.object({
    rrset_name: v.string(),
    rrset_type: v.string(),
    rrset_ttl: v.number(),
    rrset_values: v.array(v.string()),
  }),
);
const errorSchema = v.object({
  message: v.optional(v.string()),
  errors: v.optional(v.array(v.object({ description: v.optional(v.string()) }))),
});
const minimumTtlSec = 300;
const pageSize = 500;
const maxPages = 50;

function createGandi(token: string, context: ProviderContext): DnsProvider {
  const api = createHttpApi({
    title: 'Gandi',
    baseUrl: context.baseUrl ?? 'https://api.gandi.net/v5/livedns',
    context,
    secrets: [token],
    headers: () => ({ authorization: `Bearer ${token}` }),
    explain({ status, json }) {
      const parsed = v.safeParse(errorSchema, json);
      if (status < 300 || !parsed.success) return null;
      const details = parsed.output.errors?.flatMap(({ description }) => description ?? []) ?? [];
      const message = details.length > 0 ? details.join('; ') : parsed.output.message;
      return message === undefined ? null : { message };
    },
  });
  const zonePath = (zone: string) => `/domains/${encodeURIComponent(zone)}`;
  const setPath = (zone: string, name: string, type: string) =>
    `${zonePath(zone)}/records/${encodeURIComponent(relativeName(name, zone) || '@')}/${type}`;

  return {
    atomic: false,
    unsupportedTypes: [],
    minimumTtlSec,

    async findZone(name, { signal }) {
      for (const candidate of withParents(name)) {
        // A token that may see some domains only is refused for the others, existing or not.
        const answer = await api.request('GET', zonePath(candidate), { signal, accept: [403, 404] });
        if (answer.status >= 300) continue;
        const { fqdn } = readAnswer(api, domainSchema, answer);
        return { name: fqdn, id: fqdn, nameServers: [] };
      }
      // Does the token open anything at all?
      await api.request('GET', '/domains', { signal, query: { per_page: '1' } });
      throw api.error('zone-not-found', `the token reaches no domain that holds ${name}`);
    },

    async list(zone, names, { signal }) {
      if (names.length === 0) return [];
      const found = new Map<string, v.InferOutput<typeof recordsSchema>[number]>();
      for (let page = 1; page <= maxPages; page++) {
        const query = { page: String(page), per_page: String(pageSize) };
        const answer = await api.request('GET', `${zonePath(zone.id)}/records`, { signal, query });
        const before = found.size;
        for (const set of readAnswer(api, recordsSchema, answer))
          found.set(`${set.rrset_name} ${set.rrset_type}`, set);
        // The last page is a short one; a server that knows no pages sends the same again.
        if (found.size < before + pageSize) break;
      }
      return [...found.values()].flatMap((set) => {
        const name = absoluteName(set.rrset_name.toLowerCase(), zone.name);
        if (!names.includes(name)) return [];
        const values = set.rrset_values.map((value) => fromZoneFile(set.rrset_type, value, zone.name));
        return { name, type: set.rrset_type, ttlSec: set.rrset_ttl, values: [...new Set(values)].sort() };
      });
    },

    async upsert(zone, wanted, { signal }) {
      const sets = withMinimumTtl(wanted, minimumTtlSec);
      if (sets.length === 0) return;
      await refuseConflicts(this, zone, sets, { signal });
      for (const set of sets) {
        const body = { rrset_ttl: set.ttlSec, rrset_values: set.values };
        await api.request('PUT', setPath(zone.id, set.name, set.type), { signal, body });
      }
    },

    async delete(zone, keys, { signal }) {
      for (const { name, type } of keys) {
        await api.request('DELETE', setPath(zone.id, name, type), { signal, accept: [404] });
      }
    },
  };
}
