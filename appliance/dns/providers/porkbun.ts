/**
 * Porkbun. Documentation: https://porkbun.com/api/json/v3/documentation and https://porkbun.com/llms/dns
 * (keys in headers, POST for everything, numbers as strings, host names without a final dot, errors as
 * `status: ERROR`). A TTL below 600 is not taken. Too many requests are answered 202, 429 or 503.
 */
import * as v from 'valibot';
import { txtValue } from '../../contract/dns-records.ts';
import { relativeName, withParents } from '../name.ts';
import { type ProviderContext, type ProviderDefinition, requireCredential } from '../provider.ts';
import { txtText } from '../presentation.ts';
import { canonicalValue } from '../rdata.ts';
import { createHttpApi } from './http-api.ts';
import { readAnswer } from './read-answer.ts';
import type { HeldRecord } from './reconcile.ts';
import { type PlainRecord, recordProvider } from './record-provider.ts';
import { fromAbsolute, splitPriority, withoutFinalDot } from './values.ts';

export const porkbun: ProviderDefinition = {
  name: 'porkbun',
  title: 'Porkbun',
  credentials: [
    { variable: 'PORKBUN_API_KEY', title: 'API key (pk1_…)', secret: true },
    { variable: 'PORKBUN_SECRET_API_KEY', title: 'Secret API key (sk1_…)', secret: true },
  ],
  instructions:
    'Make a key at https://porkbun.com/account/api, and turn on "API access" in the details of the domain',
  nameServerPattern: /(^|\.)(ns\.porkbun\.com)$/,
  create: async (credentials, context) =>
    createPorkbun(
      requireCredential(credentials, 'PORKBUN_API_KEY'),
      requireCredential(credentials, 'PORKBUN_SECRET_API_KEY'),
      context,
    ),
};

/** Numbers come as strings, and sometimes not. */
const text = v.pipe(v.union([v.string(), v.number()]), v.transform(String));
const recordSchema = v.object({
  id: text,
  name: v.string(),
  type: v.string(),
  content: v.string(),
  ttl: text,
  prio: v.nullish(text),
});
const recordsSchema = v.object({ records: v.array(recordSchema) });
const domainsSchema = v.object({ domains: v.array(v.object({ domain: v.string() })) });
const errorSchema = v.object({
  status: v.literal('ERROR'),
  message: v.optional(v.string(), 'no reason given'),
});
const minimumTtlSec = 600;
const domainsPerChunk = 1000;
const maxChunks = 20;

function createPorkbun(apiKey: string, secretKey: string, context: ProviderContext) {
  const api = createHttpApi({
    title: 'Porkbun',
    baseUrl: context.baseUrl ?? 'https://api.porkbun.com/api/json/v3',
    context,
    secrets: [apiKey, secretKey],
    headers: () => ({ 'x-api-key': apiKey, 'x-secret-api-key': secretKey }),
    explain({ status, json }) {
      if (status === 202) return { code: 'rate-limited', message: 'too many requests' };
      const parsed = v.safeParse(errorSchema, json);
      if (!parsed.success) return null;
      const { message } = parsed.output;
      if (/invalid api key|api key.*(invalid|not found)/i.test(message))
        return { code: 'wrong-credentials', message };
      if (/not opted in|api access/i.test(message)) return { code: 'not-allowed', message };
      if (/invalid domain|domain.*not found/i.test(message)) return { code: 'zone-not-found', message };
      // With a good status the text is all there is to judge by.
      return status < 300 ? { code: 'rejected', message } : { message };
    },
  });
  const post = (path: string, signal: AbortSignal, body: object = {}, repeatable = false) =>
    api.request('POST', path, { signal, body, repeatable });

  return recordProvider(
    {
      async list(zone, _names, { signal }) {
        const answer = await post(`/dns/retrieve/${encodeURIComponent(zone.id)}`, signal, {}, true);
        return readAnswer(api, recordsSchema, answer).records.map(heldOf);
      },
      async create(zone, record, { signal }) {
        await post(`/dns/create/${encodeURIComponent(zone.id)}`, signal, bodyOf(record, zone.name));
      },
      async update(zone, id, record, { signal }) {
        await post(`/dns/edit/${encodeURIComponent(zone.id)}/${id}`, signal, bodyOf(record, zone.name), true);
      },
      async remove(zone, id, { signal }) {
        await post(`/dns/delete/${encodeURIComponent(zone.id)}/${id}`, signal);
      },
    },
    {
      unsupportedTypes: [],
      minimumTtlSec,
      async findZone(name, { signal }) {
        const owned = new Set<string>();
        for (let chunk = 0; chunk < maxChunks; chunk++) {
          const start = String(chunk * domainsPerChunk);
          const answer = await post('/domain/listAll', signal, { start }, true);
          const { domains } = readAnswer(api, domainsSchema, answer);
          for (const { domain } of domains) owned.add(domain.toLowerCase());
          if (domains.length < domainsPerChunk) break;
        }
        const zone = withParents(name).find((candidate) => owned.has(candidate));
        if (zone === undefined)
          throw api.error('zone-not-found', `the account has no domain that holds ${name}`);
        return { name: zone, id: zone, nameServers: [] };
      },
    },
  );
}

function heldOf(record: v.InferOutput<typeof recordSchema>): HeldRecord {
  const { type, content } = record;
  const value = type === 'MX' || type === 'SRV' ? `${record.prio ?? '0'} ${content}` : content;
  return {
    id: record.id,
    name: record.name.toLowerCase().replace(/\.$/, ''),
    type,
    ttlSec: Number(record.ttl),
    value: type === 'TXT' ? textOf(content) : fromAbsolute(type, value),
  };
}

/** Text as it is; people who typed quotes in the control panel meant those of a zone file. */
function textOf(content: string): string {
  return /^".*"$/s.test(content) ? canonicalValue('TXT', content) : txtValue(content);
}

function bodyOf({ name, type, ttlSec, value }: PlainRecord, zone: string) {
  const { priority, rest } = splitPriority(type, value);
  return {
    name: relativeName(name, zone),
    type,
    content: type === 'TXT' ? txtText(value) : withoutFinalDot(type, rest),
    ttl: String(ttlSec),
    ...(priority === null ? {} : { prio: String(priority) }),
  };
}
