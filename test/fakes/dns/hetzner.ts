/** https://docs.hetzner.cloud/reference/cloud (zones, zone RRSets, actions) as a fake. */
import { fromZoneFile } from '../../../appliance/dns/providers/values.ts';
import { type FakeReply, type FakeRequest, jsonOf, pageOf, startHttpFake, ZoneStore } from './http-fake.ts';

const failure = (status: number, code: string, message: string): FakeReply => ({
  status,
  json: { error: { code, message, details: null } },
});

export async function startHetzner(token: string, zones: readonly string[]) {
  const store = new ZoneStore(zones);
  /** What each running action will do: nothing is done before it is asked after. */
  const running = new Map<number, () => void>();
  let lastAction = 0;
  const act = (work: () => void, extra: object = {}): FakeReply => {
    const id = ++lastAction;
    running.set(id, work);
    return {
      status: 201,
      json: { ...extra, action: { id, status: 'running', command: 'change', progress: 0, error: null } },
    };
  };
  const handle = (request: FakeRequest): FakeReply => {
    const { method, path, query } = request;
    if (request.headers.authorization !== `Bearer ${token}`) {
      return failure(401, 'unauthorized', 'the token you are using is invalid');
    }
    const action = /^\/actions\/(\d+)$/.exec(path)?.[1];
    if (action !== undefined) {
      running.get(Number(action))?.();
      running.delete(Number(action));
      return { status: 200, json: { action: { id: Number(action), status: 'success', error: null } } };
    }
    if (path === '/zones') {
      const found = zones.filter((zone) => query.get('name') === null || query.get('name') === zone);
      const servers = { assigned: ['hydrogen.ns.hetzner.com.', 'oxygen.ns.hetzner.com.'] };
      const json = found.map((name) => ({
        id: zones.indexOf(name) + 1,
        name,
        mode: 'primary',
        ttl: 7200,
        authoritative_nameservers: servers,
      }));
      return { status: 200, json: { zones: json, meta: { pagination: { next_page: null } } } };
    }
    const [, id = '', rest = ''] = /^\/zones\/(\d+)\/rrsets(.*)$/.exec(path) ?? [];
    const zone = zones[Number(id) - 1];
    if (zone === undefined) return failure(404, 'not_found', 'zone not found');
    if (rest === '' && method === 'GET') return list(store, zone, query);
    if (rest === '' && method === 'POST') return create(store, zone, request, act);
    const [, label = '', type = '', verb = ''] =
      /^\/([^/]+)\/([A-Z]+)(?:\/actions\/(\w+))?$/.exec(rest) ?? [];
    const name = label === '@' ? zone : `${label}.${zone}`;
    const held = store.setOf(zone, name, type);
    if (held.length === 0) return failure(404, 'not_found', 'rrset not found');
    if (method === 'DELETE') return act(() => store.removeSet(zone, name, type));
    if (verb === 'set_records') {
      const { records } = jsonOf(request) as { records: { value: string }[] };
      const bad = refusal(
        type,
        records.map(({ value }) => value),
      );
      if (bad !== null) return bad;
      const values = records.map(({ value }) => fromZoneFile(type, value, zone));
      return act(() => store.putSet(zone, { name, type, ttlSec: held[0]?.ttlSec ?? 0, values }));
    }
    if (verb === 'change_ttl') {
      const ttlSec = Number(jsonOf(request).ttl);
      if (ttlSec < 60) return failure(422, 'invalid_input', 'ttl must be at least 60');
      return act(() => {
        const values = store.setOf(zone, name, type).map(({ value }) => value);
        store.putSet(zone, { name, type, ttlSec, values });
      });
    }
    return failure(404, 'not_found', 'no such path');
  };
  return { ...(await startHttpFake(handle)), store };
}

function list(store: ZoneStore, zone: string, query: URLSearchParams): FakeReply {
  const keys = new Map(store.of(zone).map(({ name, type }) => [`${name} ${type}`, { name, type }]));
  const page = Number(query.get('page') ?? 1);
  const size = Number(query.get('per_page') ?? 25);
  if (size > 50) return failure(400, 'invalid_input', 'per_page must not be above 50');
  const sets = pageOf([...keys.values()], page, size).map(({ name, type }) => {
    const set = store.setOf(zone, name, type);
    const label = name === zone ? '@' : name.slice(0, -zone.length - 1);
    const ttl = set[0]?.ttlSec === 7200 ? null : set[0]?.ttlSec;
    return {
      id: `${label}/${type}`,
      name: label,
      type,
      ttl,
      records: set.map(({ value }) => ({ value, comment: '' })),
    };
  });
  const next = page * size < keys.size ? page + 1 : null;
  return {
    status: 200,
    json: { rrsets: sets, meta: { pagination: { page, per_page: size, next_page: next } } },
  };
}

function refusal(type: string, values: readonly string[]): FakeReply | null {
  const unquoted = type === 'TXT' && values.some((value) => !/^("(\\.|[^"\\])*" ?)+$/.test(value));
  if (unquoted) return failure(422, 'invalid_input', 'TXT records must consist of quoted strings');
  return values.length === 0 ? failure(422, 'invalid_input', 'records must not be empty') : null;
}

function create(
  store: ZoneStore,
  zone: string,
  request: FakeRequest,
  act: (work: () => void, extra: object) => FakeReply,
): FakeReply {
  const body = jsonOf(request) as { name: string; type: string; ttl: number; records: { value: string }[] };
  if (body.name.endsWith(zone) || body.name.endsWith('.'))
    return failure(422, 'invalid_input', 'name must be relative');
  const name = body.name === '@' ? zone : `${body.name}.${zone}`;
  if (store.setOf(zone, name, body.type).length > 0) return failure(409, 'uniqueness_error', 'rrset exists');
  if (store.conflicts(zone, name, body.type))
    return failure(422, 'invalid_input', 'CNAME must be the only record');
  if (body.ttl < 60) return failure(422, 'invalid_input', 'ttl must be at least 60');
  const bad = refusal(
    body.type,
    body.records.map(({ value }) => value),
  );
  if (bad !== null) return bad;
  const values = body.records.map(({ value }) => fromZoneFile(body.type, value, zone));
  return act(() => store.putSet(zone, { name, type: body.type, ttlSec: body.ttl, values }), {
    rrset: { name: body.name },
  });
}
