/** https://docs.digitalocean.com/reference/api/api-reference/#tag/Domain-Records as a fake, quirks included. */
import { txtValue } from '../../../appliance/contract/dns-records.ts';
import { txtText } from '../../../appliance/dns/presentation.ts';
import { canonicalValue } from '../../../appliance/dns/rdata.ts';
import {
  type FakeReply,
  type FakeRequest,
  jsonOf,
  pageOf,
  startHttpFake,
  type StoredRecord,
  ZoneStore,
} from './http-fake.ts';

const failure = (status: number, id: string, message: string): FakeReply => ({
  status,
  json: { id, message },
});
const types = ['A', 'AAAA', 'CAA', 'CNAME', 'MX', 'NS', 'SOA', 'SRV', 'TXT'];

export async function startDigitalocean(token: string, zones: readonly string[]) {
  const store = new ZoneStore(zones);
  let baseUrl = '';
  const handle = (request: FakeRequest): FakeReply => {
    const { method, path, query } = request;
    if (request.headers.authorization !== `Bearer ${token}`) {
      return failure(401, 'Unauthorized', 'Unable to authenticate you');
    }
    const [, zone = '', rest] = /^\/domains\/([^/]+)(?:\/records\/?(\d*))?$/.exec(path) ?? [];
    if (!zones.includes(zone))
      return failure(404, 'not_found', 'The resource you were accessing could not be found.');
    if (rest === undefined) return { status: 200, json: { domain: { name: zone, ttl: 1800 } } };
    if (method === 'GET') {
      const page = Number(query.get('page') ?? 1);
      const size = Math.min(Number(query.get('per_page') ?? 20), 200);
      const all = store.of(zone);
      const next =
        page * size < all.length ? { next: `${baseUrl}${path}?page=${page + 1}&per_page=${size}` } : {};
      const records = pageOf(all, page, size).map((record) => wireOf(record, zone));
      return {
        status: 200,
        json: { domain_records: records, links: { pages: next }, meta: { total: all.length } },
      };
    }
    if (method === 'DELETE') {
      if (store.find(Number(rest)) === undefined) return failure(404, 'not_found', 'not found');
      store.remove(Number(rest));
      return { status: 204 };
    }
    const record = recordOf(zone, jsonOf(request));
    if (typeof record === 'string') return failure(422, 'unprocessable_entity', record);
    if (store.conflicts(zone, record.name, record.type)) {
      return failure(422, 'unprocessable_entity', 'CNAME records cannot share a name with other records');
    }
    if (method === 'PUT') {
      store.replace(Number(rest), record);
      return { status: 200, json: { domain_record: wireOf({ ...record, id: Number(rest) }, zone) } };
    }
    return { status: 201, json: { domain_record: wireOf(store.add(record), zone) } };
  };
  const fake = await startHttpFake(handle);
  baseUrl = fake.baseUrl;
  return { ...fake, store };
}

function recordOf(zone: string, body: Record<string, unknown>): Omit<StoredRecord, 'id'> | string {
  const { type, name, data, ttl, priority, weight, port, flags, tag } = body as Record<
    string,
    string | number
  >;
  if (typeof type !== 'string' || !types.includes(type)) return 'Type is not supported';
  if (typeof name !== 'string' || name.endsWith('.') || name.endsWith(zone)) return 'Name must be relative';
  if (Number(ttl) < 30) return 'TTL must be at least 30';
  const text = String(data);
  if (['CNAME', 'MX', 'SRV', 'NS', 'CAA'].includes(type) && !text.endsWith('.') && !text.includes(';')) {
    return 'Data needs to end with a dot (.)';
  }
  const base = { zone, name: name === '@' ? zone : `${name}.${zone}`, type, ttlSec: Number(ttl) };
  if (type === 'TXT') return { ...base, value: txtValue(text) };
  if (type === 'MX') return { ...base, value: `${priority} ${text}` };
  if (type === 'SRV') return { ...base, value: `${priority} ${weight} ${port} ${text}` };
  if (type === 'CAA') return { ...base, value: `${flags} ${tag} "${text.replace(/\.$/, '')}"` };
  return { ...base, value: canonicalValue(type, text) };
}

/** Host names lose their dot, and the zone's own is shown as @. */
function wireOf({ id, name, type, value, ttlSec }: StoredRecord, zone: string) {
  const label = name === zone ? '@' : name.slice(0, -zone.length - 1);
  const none = { priority: null, port: null, weight: null, flags: null, tag: null };
  const base = { id, type, name: label, ttl: ttlSec, ...none };
  const host = (text = '') => (text === `${zone}.` ? '@' : text.replace(/\.$/, ''));
  const parts = value.split(' ');
  if (type === 'TXT') return { ...base, data: txtText(value) };
  if (type === 'MX') return { ...base, priority: Number(parts[0]), data: host(parts[1]) };
  if (type === 'SRV') {
    const [priority, weight, port] = parts.map(Number);
    return { ...base, priority, weight, port, data: host(parts[3]) };
  }
  if (type === 'CAA') {
    return {
      ...base,
      flags: Number(parts[0]),
      tag: parts[1],
      data: parts.slice(2).join(' ').replace(/^"|"$/g, ''),
    };
  }
  return { ...base, data: type === 'CNAME' || type === 'NS' ? host(value) : value };
}
