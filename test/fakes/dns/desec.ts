/** https://desec.readthedocs.io/en/latest/dns/rrsets.html as a fake. */
import { canonicalValue } from '../../../appliance/dns/rdata.ts';
import { type FakeReply, type FakeRequest, startHttpFake, ZoneStore } from './http-fake.ts';

interface Wire {
  readonly subname: string;
  readonly type: string;
  readonly ttl?: number;
  readonly records: readonly string[];
}

const pageSize = 500;

export async function startDesec(token: string, zones: readonly string[]) {
  const store = new ZoneStore(zones);
  let baseUrl = '';
  const handle = (request: FakeRequest): FakeReply => {
    const { method, path, query } = request;
    if (request.headers.authorization !== `Token ${token}`)
      return { status: 401, json: { detail: 'Invalid token.' } };
    if (path === '/domains/' && method === 'GET') {
      const name = query.get('owns_qname') ?? '';
      const owner = zones
        .filter((zone) => name === zone || name.endsWith(`.${zone}`))
        .sort((a, b) => b.length - a.length)[0];
      const domains = owner === undefined ? [] : [{ name: owner, minimum_ttl: 3600 }];
      return { status: 200, json: domains };
    }
    const zone = /^\/domains\/([^/]+)\/rrsets\/$/.exec(path)?.[1];
    if (zone === undefined || !zones.includes(zone)) return { status: 404, json: { detail: 'Not found.' } };
    if (method === 'GET') return list(store, zone, query.get('cursor'), baseUrl);
    if (method === 'PATCH') return patch(store, zone, JSON.parse(request.body) as Wire[]);
    return { status: 405, json: { detail: 'Method not allowed.' } };
  };
  const fake = await startHttpFake(handle);
  baseUrl = fake.baseUrl;
  return { ...fake, store };
}

function wireSets(store: ZoneStore, zone: string): Wire[] {
  const keys = new Map(store.of(zone).map(({ name, type }) => [`${name} ${type}`, { name, type }]));
  return [...keys.values()].map(({ name, type }) => {
    const set = store.setOf(zone, name, type);
    const subname = name === zone ? '' : name.slice(0, -zone.length - 1);
    return { subname, type, ttl: set[0]?.ttlSec ?? 0, records: set.map(({ value }) => value) };
  });
}

function list(store: ZoneStore, zone: string, cursor: string | null, baseUrl: string): FakeReply {
  const sets = wireSets(store, zone).toReversed();
  const link = (at: string, rel: string) => `<${baseUrl}/domains/${zone}/rrsets/?cursor=${at}>; rel="${rel}"`;
  if (cursor === null && sets.length > pageSize) {
    return {
      status: 400,
      headers: { link: link('', 'first') },
      json: { detail: 'Pagination required. You can query up to 500 items at a time.' },
    };
  }
  const start = Number(cursor === null || cursor === '' ? 0 : cursor.replace('opaque', ''));
  const links = [link('', 'first')];
  if (start + pageSize < sets.length) links.push(link(`opaque${start + pageSize}`, 'next'));
  return { status: 200, headers: { link: links.join(', ') }, json: sets.slice(start, start + pageSize) };
}

function patch(store: ZoneStore, zone: string, sets: readonly Wire[]): FakeReply {
  const before = store.records;
  const errors = sets.map((set) => refusal(store, zone, set));
  if (errors.some((error) => Object.keys(error).length > 0)) {
    store.records = before;
    return { status: 400, json: errors };
  }
  return { status: 200, json: sets.filter(({ records }) => records.length > 0) };
}

/** Applies one set; an object that is not empty says why it can't be. */
function refusal(store: ZoneStore, zone: string, wire: Wire): object {
  const name = wire.subname === '' ? zone : `${wire.subname}.${zone}`;
  if (wire.subname === '@' || wire.subname !== wire.subname.toLowerCase())
    return { subname: ['Invalid subname.'] };
  if (wire.records.length === 0) {
    store.removeSet(zone, name, wire.type);
    return {};
  }
  if ((wire.ttl ?? 0) < 3600) return { ttl: ['Ensure this value is greater than or equal to 3600.'] };
  if (store.conflicts(zone, name, wire.type)) {
    return {
      non_field_errors: [
        `RRset with conflicting type present: ${name} (No other RRsets are allowed alongside CNAME.)`,
      ],
    };
  }
  for (const record of wire.records) {
    if (wire.type === 'TXT' && !/^("(\\.|[^"\\]){0,1020}" ?)+$/.test(record))
      return { records: ['Quote the text.'] };
    if (['CNAME', 'MX', 'SRV', 'NS'].includes(wire.type) && !record.endsWith('.')) {
      return { records: ['Hostname must be fully qualified (i.e., end in a dot: "example.com.")'] };
    }
  }
  const values = wire.records.map((record) => canonicalValue(wire.type, record));
  store.putSet(zone, { name, type: wire.type, ttlSec: wire.ttl ?? 0, values });
  return {};
}
