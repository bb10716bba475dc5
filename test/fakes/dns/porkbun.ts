/** https://porkbun.com/api/json/v3/documentation as a fake. */
import { txtValue } from '../../../appliance/contract/dns-records.ts';
import { fromAbsolute } from '../../../appliance/dns/providers/values.ts';
import { txtText } from '../../../appliance/dns/presentation.ts';
import {
  type FakeReply,
  type FakeRequest,
  jsonOf,
  startHttpFake,
  type StoredRecord,
  ZoneStore,
} from './http-fake.ts';

const failure = (message: string, status = 400): FakeReply => ({
  status,
  json: { status: 'ERROR', message },
});
const success = (fields: object = {}): FakeReply => ({ status: 200, json: { status: 'SUCCESS', ...fields } });
const types = ['A', 'MX', 'CNAME', 'ALIAS', 'TXT', 'NS', 'AAAA', 'SRV', 'TLSA', 'CAA', 'HTTPS', 'SVCB'];

export async function startPorkbun(keys: { api: string; secret: string }, zones: readonly string[]) {
  const store = new ZoneStore(zones);
  const handle = (request: FakeRequest): FakeReply => {
    const { method, path, headers } = request;
    if (method !== 'POST') return failure('POST only', 405);
    if (headers['x-api-key'] !== keys.api || headers['x-secret-api-key'] !== keys.secret) {
      return failure('Invalid API key. (002)', 403);
    }
    if (path === '/domain/listAll') {
      const start = Number(jsonOf(request).start ?? 0);
      return success({
        domains: zones.slice(start, start + 1000).map((domain) => ({ domain, status: 'ACTIVE' })),
      });
    }
    const [, verb = '', zone = '', id = ''] = /^\/dns\/(\w+)\/([^/]+)\/?(\d*)$/.exec(path) ?? [];
    if (!zones.includes(zone)) return failure('Invalid domain.');
    if (verb === 'retrieve') {
      const records = store.of(zone).filter(({ type, name }) => type !== 'NS' || name !== zone);
      return success({ cloudflare: 'disabled', records: records.map(wireOf) });
    }
    if (verb === 'delete') {
      if (store.find(Number(id)) === undefined) return failure('Invalid record ID.');
      store.remove(Number(id));
      return success();
    }
    const record = recordOf(zone, jsonOf(request));
    if (typeof record === 'string') return failure(record);
    if (store.conflicts(zone, record.name, record.type)) {
      return failure('Create error: We were unable to create the DNS record.');
    }
    if (verb === 'edit') {
      store.replace(Number(id), record);
      return success();
    }
    return success({ id: store.add(record).id });
  };
  return { ...(await startHttpFake(handle)), store };
}

function recordOf(zone: string, body: Record<string, unknown>): Omit<StoredRecord, 'id'> | string {
  const { name, type, content, ttl, prio } = body as Record<string, string>;
  if (name === undefined || name === '@' || name.endsWith(zone)) return 'Invalid subdomain.';
  if (type === undefined || !types.includes(type)) return 'Invalid type.';
  if (typeof ttl !== 'string' || Number(ttl) < 600) return 'TTL is below the minimum of 600.';
  if (content === undefined || content.endsWith('.')) return 'Invalid content.';
  const base = { zone, name: name === '' ? zone : `${name}.${zone}`, type, ttlSec: Number(ttl) };
  if (type === 'TXT') return { ...base, value: txtValue(content) };
  const needsPriority = type === 'MX' || type === 'SRV';
  if (needsPriority && prio === undefined) return 'Priority is required.';
  return { ...base, value: fromAbsolute(type, needsPriority ? `${prio} ${content}` : content) };
}

function wireOf({ id, name, type, value, ttlSec }: StoredRecord) {
  const base = { id: String(id), name, type, ttl: String(ttlSec), notes: '' };
  const [priority, ...rest] = value.split(' ');
  const bare = (text: string) => text.replace(/\.$/, '');
  if (type === 'TXT') return { ...base, prio: null, content: txtText(value) };
  if (type === 'MX' || type === 'SRV') return { ...base, prio: priority, content: bare(rest.join(' ')) };
  return { ...base, prio: '0', content: bare(value) };
}
