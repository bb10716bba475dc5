/** https://api.gandi.net/docs/livedns/ as a fake. */
import { fromZoneFile } from '../../../appliance/dns/providers/values.ts';
import { type FakeReply, type FakeRequest, pageOf, startHttpFake, ZoneStore } from './http-fake.ts';

const failure = (code: number, object: string, message: string): FakeReply => ({
  status: code,
  json: { code, message, object, cause: object.replace('HTTP', '') },
});

export async function startGandi(token: string, zones: readonly string[]) {
  const store = new ZoneStore(zones);
  const handle = (request: FakeRequest): FakeReply => {
    const { method, path, query } = request;
    if (request.headers.authorization !== `Bearer ${token}`) {
      return failure(
        401,
        'HTTPUnauthorized',
        'The server could not verify that you authorized to access the document',
      );
    }
    if (path === '/domains') return { status: 200, json: zones.map((fqdn) => ({ fqdn })) };
    const [, zone = '', rest = ''] = /^\/domains\/([^/]+)(?:\/records(.*))?$/.exec(path) ?? [];
    if (!zones.includes(zone)) return failure(404, 'HTTPNotFound', `Domain \`${zone}\` doesn't exist`);
    if (!path.includes('/records')) return { status: 200, json: { fqdn: zone, automatic_snapshots: true } };
    if (rest === '' && method === 'GET') {
      const sets = setsOf(store, zone);
      const page = pageOf(sets, Number(query.get('page') ?? 1), Number(query.get('per_page') ?? 100));
      return { status: 200, headers: { 'total-count': String(sets.length) }, json: page };
    }
    const [, label = '', type = ''] = /^\/([^/]+)\/([A-Z]+)$/.exec(rest) ?? [];
    const name = label === '@' ? zone : `${label}.${zone}`;
    if (method === 'DELETE') {
      if (store.setOf(zone, name, type).length === 0)
        return failure(404, 'HTTPNotFound', "Can't find the DNS record");
      store.removeSet(zone, name, type);
      return { status: 204 };
    }
    if (method === 'PUT') return put(store, zone, name, type, request.body);
    return failure(405, 'HTTPMethodNotAllowed', 'Method not allowed');
  };
  return { ...(await startHttpFake(handle)), store };
}

function setsOf(store: ZoneStore, zone: string) {
  const keys = new Map(store.of(zone).map(({ name, type }) => [`${name} ${type}`, { name, type }]));
  return [...keys.values()].map(({ name, type }) => {
    const set = store.setOf(zone, name, type);
    return {
      rrset_name: name === zone ? '@' : name.slice(0, -zone.length - 1),
      rrset_type: type,
      rrset_ttl: set[0]?.ttlSec,
      // Host names inside of the zone are shown relative to it, as people like to write them.
      rrset_values: set.map(({ value }) =>
        type === 'MX' || type === 'CNAME' ? value.replace(`.${zone}.`, '') : value,
      ),
    };
  });
}

function put(store: ZoneStore, zone: string, name: string, type: string, body: string): FakeReply {
  const { rrset_ttl: ttlSec, rrset_values: values } = JSON.parse(body) as {
    rrset_ttl: number;
    rrset_values: string[];
  };
  const refuse = (field: string, description: string): FakeReply => ({
    status: 400,
    json: { status: 'error', errors: [{ location: 'body', name: field, description }] },
  });
  if (ttlSec < 300 || ttlSec > 2_592_000) return refuse('rrset_ttl', 'TTL must be between 300 and 2592000');
  if (type === 'TXT' && values.some((value) => !value.startsWith('"')))
    return refuse('rrset_values', 'Quote the text');
  if (store.conflicts(zone, name, type))
    return { status: 409, json: { code: 409, message: 'A CNAME stands alone' } };
  const canonical = values.map((value) => fromZoneFile(type, value, zone));
  store.putSet(zone, { name, type, ttlSec, values: canonical });
  return { status: 201, json: { message: 'DNS Record Created' } };
}
