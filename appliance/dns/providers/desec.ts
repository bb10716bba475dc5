/**
 * deSEC. Documentation: https://desec.readthedocs.io/en/latest/dns/domains.html ("owns_qname"),
 * …/dns/rrsets.html (bulk PATCH is atomic; `records: []` deletes; pages by cursor in the Link header),
 * …/rate-limits.html (429 with Retry-After; 2 writes a second and 15 a minute for a domain).
 */
import * as v from 'valibot';
import { absoluteName, relativeName } from '../name.ts';
import {
  type DnsProvider,
  type ProviderContext,
  type ProviderDefinition,
  requireCredential,
} from '../provider.ts';
import { canonicalValues } from '../rdata.ts';
import { createHttpApi } from './http-api.ts';
import { readAnswer } from './read-answer.ts';
import { refuseConflicts, withMinimumTtl } from './reconcile.ts';

export const desec: ProviderDefinition = {
  name: 'desec',
  title: 'deSEC',
  credentials: [{ variable: 'DESEC_TOKEN', title: 'Token', secret: true }],
  instructions: 'Make a token at https://desec.io/tokens; one with a policy must allow writing to the domain',
  nameServerPattern: /(^|\.)(desec\.io|desec\.org)$/,
  create: async (credentials, context) => createDesec(requireCredential(credentials, 'DESEC_TOKEN'), context),
};

const domainsSchema = v.array(v.object({ name: v.string() }));
const setsSchema = v.array(
  v.object({ subname: v.string(), type: v.string(), ttl: v.number(), records: v.array(v.string()) }),
);
/** The default minimum; domains under dedyn.io may go lower, which we do not need. */
const minimumTtlSec = 3600;
/** A zone of 25,000 record sets; an endless chain of pages ends here. */
const maxPages = 50;

function createDesec(token: string, context: ProviderContext): DnsProvider {
  const api = createHttpApi({
    title: 'deSEC',
    baseUrl: context.baseUrl ?? 'https://desec.io/api/v1',
    context,
    secrets: [token],
    headers: () => ({ authorization: `Token ${token}` }),
    explain({ status, json }) {
      if (status < 300) return null;
      const message = sentences(json).join('; ');
      if (status === 400 && /conflicting type|CNAME/i.test(message)) return { code: 'conflict', message };
      return message === '' ? null : { message };
    },
  });
  const sets = (zone: string) => `/domains/${encodeURIComponent(zone)}/rrsets/`;

  return {
    atomic: true,
    unsupportedTypes: [],
    minimumTtlSec,

    async findZone(name, { signal }) {
      const answer = await api.request('GET', '/domains/', { signal, query: { owns_qname: name } });
      const zone = readAnswer(api, domainsSchema, answer)[0];
      if (zone === undefined)
        throw api.error('zone-not-found', `the account has no domain that holds ${name}`);
      return { name: zone.name, id: zone.name, nameServers: ['ns1.desec.io', 'ns2.desec.org'] };
    },

    async list(zone, names, { signal }) {
      if (names.length === 0) return [];
      const found: v.InferOutput<typeof setsSchema> = [];
      let cursor: string | null = '';
      for (let page = 0; cursor !== null && page < maxPages; page++) {
        const answer = await api.request('GET', sets(zone.id), { signal, query: { cursor } });
        found.push(...readAnswer(api, setsSchema, answer));
        cursor = nextCursor(answer.headers.get('link'));
      }
      return found.flatMap((set) => {
        const name = absoluteName(set.subname, zone.name);
        if (!names.includes(name)) return [];
        return { name, type: set.type, ttlSec: set.ttl, values: canonicalValues(set.type, set.records) };
      });
    },

    async upsert(zone, wanted, { signal }) {
      const body = withMinimumTtl(wanted, minimumTtlSec).map((set) => ({
        subname: relativeName(set.name, zone.name),
        type: set.type,
        ttl: set.ttlSec,
        records: set.values,
      }));
      if (body.length === 0) return;
      await refuseConflicts(this, zone, wanted, { signal });
      await api.request('PATCH', sets(zone.id), { signal, body });
    },

    async delete(zone, keys, { signal }) {
      const body = keys.map(({ name, type }) => ({
        subname: relativeName(name, zone.name),
        type,
        records: [],
      }));
      if (body.length > 0) await api.request('PATCH', sets(zone.id), { signal, body });
    },
  };
}

/** RFC 8288: `<…?cursor=abc>; rel="next"`. */
function nextCursor(link: string | null): string | null {
  const url = /<([^>]*)>;\s*rel="next"/.exec(link ?? '')?.[1];
  return url === undefined ? null : (URL.parse(url)?.searchParams.get('cursor') ?? null);
}

/** Errors are `{detail}`, `{field: [texts]}`, or an array of those, one for each record set sent. */
function sentences(json: unknown): string[] {
  if (typeof json === 'string') return [json];
  if (Array.isArray(json)) return json.flatMap(sentences);
  return typeof json === 'object' && json !== null ? Object.values(json).flatMap(sentences) : [];
}
