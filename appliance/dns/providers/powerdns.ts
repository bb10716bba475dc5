/**
 * The PowerDNS Authoritative Server's own HTTP API.
 * Documentation: https://doc.powerdns.com/authoritative/http-api/ (zones: "PATCH
 * /servers/{server_id}/zones/{zone_id}", changetype REPLACE and DELETE; one PATCH is one transaction).
 */
import * as v from 'valibot';
import { normaliseName, withParents } from '../name.ts';
import {
  type DnsProvider,
  type ProviderContext,
  type ProviderDefinition,
  requireCredential,
} from '../provider.ts';
import { canonicalValues } from '../rdata.ts';
import { createHttpApi } from './http-api.ts';
import { readAnswer } from './read-answer.ts';
import { withMinimumTtl } from './reconcile.ts';

export const powerdns: ProviderDefinition = {
  name: 'powerdns',
  title: 'PowerDNS',
  credentials: [
    { variable: 'PDNS_API_URL', title: 'Address of the API, such as http://127.0.0.1:8081', secret: false },
    { variable: 'PDNS_API_KEY', title: 'API key', secret: true },
    { variable: 'PDNS_SERVER_NAME', title: 'Server id (localhost)', secret: false, optional: true },
  ],
  instructions: 'Set api=yes, api-key and webserver-allow-from in pdns.conf',
  create: async (credentials, context) => createPowerdns(credentials, context),
};

const zonesSchema = v.array(v.object({ id: v.string(), name: v.string(), kind: v.string() }));
const zoneSchema = v.object({
  rrsets: v.array(
    v.object({
      name: v.string(),
      type: v.string(),
      ttl: v.number(),
      records: v.array(v.object({ content: v.string(), disabled: v.optional(v.boolean(), false) })),
    }),
  ),
});
const errorSchema = v.object({ error: v.string() });

function createPowerdns(
  credentials: Readonly<Record<string, string>>,
  context: ProviderContext,
): DnsProvider {
  const key = requireCredential(credentials, 'PDNS_API_KEY');
  const server = encodeURIComponent(credentials.PDNS_SERVER_NAME?.trim() || 'localhost');
  const base = (context.baseUrl ?? requireCredential(credentials, 'PDNS_API_URL')).replace(/\/+$/, '');
  const api = createHttpApi({
    title: 'PowerDNS',
    baseUrl: `${base}/api/v1/servers/${server}`,
    context,
    secrets: [key],
    headers: () => ({ 'x-api-key': key }),
    explain({ status, json, text }) {
      if (status < 300) return null;
      // A wrong key is answered 401 with plain text; 422 is a change that can't be done.
      const parsed = v.safeParse(errorSchema, json);
      const message = parsed.success ? parsed.output.error : text;
      if (status === 422 && /conflict/i.test(message)) return { code: 'conflict', message };
      if (status === 422 || status === 400) return { code: 'rejected', message };
      if (status === 401) return { message: 'the API key is not accepted' };
      // PowerDNS says 404 or 422 for a zone it does not have, 500 for a backend that can't write.
      return message === '' ? null : { message };
    },
  });

  return {
    atomic: true,
    unsupportedTypes: [],
    minimumTtlSec: 0,

    async findZone(name, { signal }) {
      for (const candidate of withParents(name)) {
        const answer = await api.request('GET', '/zones', { signal, query: { zone: `${candidate}.` } });
        const zone = readAnswer(api, zonesSchema, answer)[0];
        if (zone === undefined) continue;
        if (/^(slave|secondary|consumer)$/i.test(zone.kind)) {
          throw api.error('zone-not-found', `it is only a secondary of ${candidate}`, {
            fix: 'Give the address of the primary server of the zone',
          });
        }
        return { name: candidate, id: zone.id, nameServers: [] };
      }
      throw api.error('zone-not-found', `it has no zone that holds ${name}`);
    },

    async list(zone, names, { signal }) {
      const answer = await api.request('GET', `/zones/${encodeURIComponent(zone.id)}`, { signal });
      return readAnswer(api, zoneSchema, answer).rrsets.flatMap((set) => {
        const name = normaliseName(set.name);
        const values = set.records.filter((record) => !record.disabled).map(({ content }) => content);
        if (!names.includes(name) || values.length === 0) return [];
        return {
          name,
          type: set.type,
          ttlSec: set.ttl,
          values: canonicalValues(set.type, values),
        };
      });
    },

    async upsert(zone, sets, { signal }) {
      const rrsets = withMinimumTtl(sets, 0).map((set) => ({
        name: `${set.name}.`,
        type: set.type,
        ttl: set.ttlSec,
        changetype: 'REPLACE',
        records: set.values.map((content) => ({ content, disabled: false })),
      }));
      if (rrsets.length === 0) return;
      await api.request('PATCH', `/zones/${encodeURIComponent(zone.id)}`, { signal, body: { rrsets } });
    },

    async delete(zone, keys, { signal }) {
      const rrsets = keys.map(({ name, type }) => ({ name: `${name}.`, type, changetype: 'DELETE' }));
      if (rrsets.length === 0) return;
      await api.request('PATCH', `/zones/${encodeURIComponent(zone.id)}`, { signal, body: { rrsets } });
    },
  };
}
