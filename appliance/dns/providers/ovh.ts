/**
 * OVHcloud. Documentation: https://eu.api.ovh.com/console/?section=%2Fdomain (zones, records by id,
 * "refresh" puts changes into effect) and https://help.ovhcloud.com/csm/en-gb-api-getting-started-ovhcloud-api
 * (the signature over secret, consumer key, method, address, body and server time). SPF, DKIM and DMARC are
 * types of OVH's own for what is TXT in DNS.
 */
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { absoluteName, relativeName, withParents } from '../name.ts';
import { mapParallel } from '../parallel.ts';
import {
  type ProviderContext,
  type ProviderDefinition,
  ProviderError,
  type ProviderErrorCode,
  requireCredential,
  type Zone,
} from '../provider.ts';
import { txtValue } from '../../contract/dns-records.ts';
import { createHttpApi, type HttpRequest, type PreparedRequest } from './http-api.ts';
import { readAnswer } from './read-answer.ts';
import type { HeldRecord } from './reconcile.ts';
import { type PlainRecord, recordProvider } from './record-provider.ts';
import { fromZoneFile } from './values.ts';

export const ovh: ProviderDefinition = {
  name: 'ovh',
  title: 'OVHcloud',
  credentials: [
    { variable: 'OVH_APPLICATION_KEY', title: 'Application key', secret: false },
    { variable: 'OVH_APPLICATION_SECRET', title: 'Application secret', secret: true },
    { variable: 'OVH_CONSUMER_KEY', title: 'Consumer key', secret: true },
    { variable: 'OVH_ENDPOINT', title: 'Endpoint: ovh-eu, ovh-ca or ovh-us', secret: false, optional: true },
  ],
  instructions:
    'Make keys at https://eu.api.ovh.com/createToken/ with GET, POST, PUT and DELETE on /domain/zone and /domain/zone/*',
  nameServerPattern: /(^|\.)(ovh\.net|ovh\.ca|anycast\.me)$/,
  create: async (credentials, context) => createOvh(readKeys(credentials), context),
};

const endpoints: Readonly<Record<string, string>> = {
  'ovh-eu': 'https://eu.api.ovh.com/1.0',
  'ovh-ca': 'https://ca.api.ovh.com/1.0',
  'ovh-us': 'https://api.us.ovhcloud.com/1.0',
};

interface OvhKeys {
  readonly application: string;
  readonly secret: string;
  readonly consumer: string;
  readonly baseUrl: string;
}

function readKeys(credentials: Readonly<Record<string, string>>): OvhKeys {
  const endpoint = credentials.OVH_ENDPOINT?.trim() || 'ovh-eu';
  const baseUrl = endpoints[endpoint];
  if (baseUrl === undefined) {
    throw new ProviderError('wrong-credentials', `OVH_ENDPOINT ${JSON.stringify(endpoint)} is not known`, {
      fix: `Use one of ${Object.keys(endpoints).join(', ')}`,
    });
  }
  return {
    application: requireCredential(credentials, 'OVH_APPLICATION_KEY'),
    secret: requireCredential(credentials, 'OVH_APPLICATION_SECRET'),
    consumer: requireCredential(credentials, 'OVH_CONSUMER_KEY'),
    baseUrl,
  };
}

const recordSchema = v.object({
  id: v.number(),
  fieldType: v.string(),
  subDomain: v.nullish(v.string(), ''),
  target: v.string(),
  ttl: v.nullish(v.number(), 0),
});
const zoneSchema = v.object({ nameServers: v.optional(v.array(v.string()), []) });
const errorSchema = v.object({ message: v.string(), errorCode: v.optional(v.string()) });
const codes: Readonly<Record<string, ProviderErrorCode>> = {
  INVALID_KEY: 'wrong-credentials',
  INVALID_CREDENTIAL: 'wrong-credentials',
  INVALID_SIGNATURE: 'wrong-credentials',
  NOT_CREDENTIAL: 'wrong-credentials',
  NOT_GRANTED_CALL: 'not-allowed',
};
const ownTextTypes = ['SPF', 'DKIM', 'DMARC'];
const minimumTtlSec = 60;
/** What a TTL of 0 stands for: the zone's default. */
const defaultTtlSec = 3600;
const parallelReads = 4;
const maxOffsetAgeSec = 600;
/** Answers to anybody. */
const timePath = '/auth/time';

function createOvh(keys: OvhKeys, context: ProviderContext) {
  // The signature is over the server's time; how far ours is off is asked now and then, since ours may be set
  // meanwhile.
  let clockOffsetSec: number | undefined;
  let askedSec = 0;
  const signature = ({ method, url, body }: PreparedRequest, time: number) => {
    const text = [keys.secret, keys.consumer, method, url.href, body, time].join('+');
    return `$1$${createHash('sha1').update(text).digest('hex')}`;
  };
  const nowSec = () => Math.floor(context.clock().getTime() / 1000);
  const api = createHttpApi({
    title: 'OVH',
    baseUrl: context.baseUrl ?? keys.baseUrl,
    context,
    secrets: [keys.secret, keys.consumer],
    headers(request) {
      if (clockOffsetSec === undefined || request.url.pathname.endsWith(timePath)) return {};
      const time = nowSec() + clockOffsetSec;
      return {
        'x-ovh-application': keys.application,
        'x-ovh-consumer': keys.consumer,
        'x-ovh-timestamp': String(time),
        'x-ovh-signature': signature(request, time),
      };
    },
    explain({ status, json }) {
      const parsed = v.safeParse(errorSchema, json);
      if (status < 300 || !parsed.success) return null;
      const code = codes[parsed.output.errorCode ?? ''];
      return { message: parsed.output.message, ...(code === undefined ? {} : { code }) };
    },
  });
  const request = async (method: string, path: string, options: HttpRequest) => {
    if (clockOffsetSec === undefined || Math.abs(nowSec() - askedSec) > maxOffsetAgeSec) {
      const answer = await api.request('GET', timePath, { signal: options.signal });
      askedSec = nowSec();
      clockOffsetSec = readAnswer(api, v.number(), answer) - askedSec;
    }
    return api.request(method, path, options);
  };
  const zonePath = (zone: string) => `/domain/zone/${encodeURIComponent(zone)}`;

  return recordProvider(
    {
      async list(zone, names, { signal }) {
        const ids = new Set<number>();
        for (const name of names) {
          const query = { subDomain: relativeName(name, zone.name) };
          const answer = await request('GET', `${zonePath(zone.id)}/record`, { signal, query });
          for (const id of readAnswer(api, v.array(v.number()), answer)) ids.add(id);
        }
        const records = await mapParallel([...ids], parallelReads, async (id) => {
          // One may be deleted meanwhile.
          const answer = await request('GET', `${zonePath(zone.id)}/record/${id}`, { signal, accept: [404] });
          return answer.status === 404 ? null : heldOf(readAnswer(api, recordSchema, answer), zone);
        });
        return records.filter((record) => record !== null);
      },
      async create(zone, record, { signal }) {
        const body = { fieldType: record.type, ...bodyOf(record, zone) };
        await request('POST', `${zonePath(zone.id)}/record`, { signal, body });
      },
      async update(zone, id, record, { signal }) {
        await request('PUT', `${zonePath(zone.id)}/record/${id}`, { signal, body: bodyOf(record, zone) });
      },
      async remove(zone, id, { signal }) {
        await request('DELETE', `${zonePath(zone.id)}/record/${id}`, { signal, accept: [404] });
      },
      async commit(zone, { signal }) {
        await request('POST', `${zonePath(zone.id)}/refresh`, { signal, repeatable: true });
      },
    },
    {
      unsupportedTypes: [],
      minimumTtlSec,
      async findZone(name, { signal }) {
        const answer = await request('GET', '/domain/zone', { signal });
        const zones = readAnswer(api, v.array(v.string()), answer);
        const zone = withParents(name).find((candidate) => zones.includes(candidate));
        if (zone === undefined)
          throw api.error('zone-not-found', `the account has no zone that holds ${name}`);
        const details = await request('GET', zonePath(zone), { signal });
        return { name: zone, id: zone, nameServers: readAnswer(api, zoneSchema, details).nameServers };
      },
    },
  );
}

function heldOf(record: v.InferOutput<typeof recordSchema>, zone: Zone): HeldRecord {
  const type = ownTextTypes.includes(record.fieldType) ? 'TXT' : record.fieldType;
  const { target } = record;
  return {
    id: String(record.id),
    name: absoluteName((record.subDomain ?? '').toLowerCase(), zone.name),
    type,
    ttlSec: record.ttl === null || record.ttl === 0 ? defaultTtlSec : record.ttl,
    // OVH's own types may come without the quotes that a TXT has.
    value:
      type === 'TXT' && !target.startsWith('"') ? txtValue(target) : fromZoneFile(type, target, zone.name),
  };
}

function bodyOf({ name, ttlSec, value }: PlainRecord, zone: Zone) {
  return { subDomain: relativeName(name, zone.name), target: value, ttl: ttlSec };
}
