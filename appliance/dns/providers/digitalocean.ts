/**
 * DigitalOcean. Documentation: https://docs.digitalocean.com/reference/api/api-reference/#tag/Domain-Records
 * (single records; priority, port, weight, flags and tag in fields of their own; pages in `links`). What it
 * does not say, and dnscontrol's provider has found out: a host name that is the zone itself reads back as
 * `@`, others lose their final dot, and a CAA value must be sent with one.
 */
import * as v from 'valibot';
import { txtValue } from '../../contract/dns-records.ts';
import { absoluteName, relativeName, withParents } from '../name.ts';
import { type ProviderContext, type ProviderDefinition, requireCredential, type Zone } from '../provider.ts';
import { txtText } from '../presentation.ts';
import { canonicalValue } from '../rdata.ts';
import { createHttpApi } from './http-api.ts';
import { readAnswer } from './read-answer.ts';
import type { HeldRecord } from './reconcile.ts';
import { type PlainRecord, recordProvider } from './record-provider.ts';
import { fromAbsolute, splitCaa, splitPriority } from './values.ts';

export const digitalocean: ProviderDefinition = {
  name: 'digitalocean',
  title: 'DigitalOcean',
  credentials: [{ variable: 'DIGITALOCEAN_TOKEN', title: 'Personal access token', secret: true }],
  instructions: 'Make a token with the domain scopes at https://cloud.digitalocean.com/account/api/tokens',
  nameServerPattern: /(^|\.)(digitalocean\.com)$/,
  create: async (credentials, context) =>
    createDigitalocean(requireCredential(credentials, 'DIGITALOCEAN_TOKEN'), context),
};

const domainSchema = v.object({ domain: v.object({ name: v.string() }) });
const recordSchema = v.object({
  id: v.number(),
  type: v.string(),
  name: v.string(),
  data: v.string(),
  ttl: v.number(),
  priority: v.nullish(v.number()),
  port: v.nullish(v.number()),
  weight: v.nullish(v.number()),
  flags: v.nullish(v.number()),
  tag: v.nullish(v.string()),
});
const recordsSchema = v.object({
  domain_records: v.array(recordSchema),
  links: v.optional(v.object({ pages: v.optional(v.object({ next: v.optional(v.string()) })) })),
});
const errorSchema = v.object({ id: v.string(), message: v.string() });
const minimumTtlSec = 30;
const pageSize = 200;
const maxPages = 100;
const nameServers = ['ns1.digitalocean.com', 'ns2.digitalocean.com', 'ns3.digitalocean.com'];

function createDigitalocean(token: string, context: ProviderContext) {
  const api = createHttpApi({
    title: 'DigitalOcean',
    baseUrl: context.baseUrl ?? 'https://api.digitalocean.com/v2',
    context,
    secrets: [token],
    headers: () => ({ authorization: `Bearer ${token}` }),
    explain({ status, json }) {
      const parsed = v.safeParse(errorSchema, json);
      return status < 300 || !parsed.success ? null : { message: parsed.output.message };
    },
  });
  const recordsPath = (zone: Zone) => `/domains/${encodeURIComponent(zone.id)}/records`;

  return recordProvider(
    {
      async list(zone, _names, { signal }) {
        const found: HeldRecord[] = [];
        for (let page = 1; page <= maxPages; page++) {
          const query = { page: String(page), per_page: String(pageSize) };
          const answer = await api.request('GET', recordsPath(zone), { signal, query });
          const { domain_records: records, links } = readAnswer(api, recordsSchema, answer);
          found.push(...records.filter(({ type }) => type !== 'SOA').map((record) => heldOf(record, zone)));
          if (links?.pages?.next === undefined) break;
        }
        return found;
      },
      async create(zone, record, { signal }) {
        await api.request('POST', recordsPath(zone), { signal, body: bodyOf(record, zone) });
      },
      async update(zone, id, record, { signal }) {
        await api.request('PUT', `${recordsPath(zone)}/${id}`, { signal, body: bodyOf(record, zone) });
      },
      async remove(zone, id, { signal }) {
        await api.request('DELETE', `${recordsPath(zone)}/${id}`, { signal, accept: [404] });
      },
    },
    {
      unsupportedTypes: ['TLSA'],
      minimumTtlSec,
      async findZone(name, { signal }) {
        for (const candidate of withParents(name)) {
          const path = `/domains/${encodeURIComponent(candidate)}`;
          const answer = await api.request('GET', path, { signal, accept: [404] });
          if (answer.status === 404) continue;
          const { domain } = readAnswer(api, domainSchema, answer);
          return { name: domain.name, id: domain.name, nameServers };
        }
        throw api.error('zone-not-found', `the account has no domain that holds ${name}`);
      },
    },
  );
}

function heldOf(record: v.InferOutput<typeof recordSchema>, zone: Zone): HeldRecord {
  return {
    id: String(record.id),
    name: absoluteName(record.name.toLowerCase(), zone.name),
    type: record.type,
    ttlSec: record.ttl,
    value: valueOf(record, zone),
  };
}

function valueOf(record: v.InferOutput<typeof recordSchema>, zone: Zone): string {
  const { type, data, priority, weight, port } = record;
  const host = data === '@' ? zone.name : data;
  switch (type) {
    case 'TXT':
      return txtValue(data);
    case 'CAA':
      return canonicalValue(
        'CAA',
        `${record.flags ?? 0} ${record.tag ?? ''} "${data.replace(/["\\]/g, '\\$&')}"`,
      );
    case 'MX':
      return fromAbsolute('MX', `${priority ?? 0} ${host}`);
    case 'SRV':
      return fromAbsolute('SRV', `${priority ?? 0} ${weight ?? 0} ${port ?? 0} ${host}`);
    default:
      return fromAbsolute(type, host);
  }
}

function bodyOf({ name, type, ttlSec, value }: PlainRecord, zone: Zone) {
  const base = { type, name: relativeName(name, zone.name) || '@', ttl: ttlSec };
  const { priority, rest } = splitPriority(type, value);
  switch (type) {
    case 'TXT':
      return { ...base, data: txtText(value) };
    case 'CAA': {
      const { flags, tag, content } = splitCaa(value);
      // A dot after parameters would become part of the last one.
      return { ...base, flags, tag, data: /^[a-z0-9.-]+$/i.test(content) ? `${content}.` : content };
    }
    case 'MX':
      return { ...base, priority, data: rest };
    case 'SRV': {
      const [weight, port, data] = rest.split(' ');
      return { ...base, priority, weight: Number(weight), port: Number(port), data };
    }
    default:
      return { ...base, data: value };
  }
}
