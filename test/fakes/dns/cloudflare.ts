/** https://developers.cloudflare.com/api/resources/dns/ as a fake. */
import { canonicalValue } from '../../../appliance/dns/rdata.ts';
import {
  type FakeReply,
  type FakeRequest,
  pageOf,
  startHttpFake,
  type StoredRecord,
  ZoneStore,
} from './http-fake.ts';

const ok = (result: unknown, info?: object): FakeReply => ({
  status: 200,
  json: {
    success: true,
    errors: [],
    messages: [],
    result,
    ...(info === undefined ? {} : { result_info: info }),
  },
});
const no = (status: number, code: number, message: string): FakeReply => ({
  status,
  json: { success: false, errors: [{ code, message }], messages: [], result: null },
});

interface Wire {
  readonly id?: string;
  readonly name: string;
  readonly type: string;
  readonly ttl: number;
  readonly content?: string;
  readonly priority?: number;
  readonly proxied?: boolean;
  readonly data?: Readonly<Record<string, string | number>>;
}

class Refusal extends Error {
  readonly reply: FakeReply;
  constructor(reply: FakeReply) {
    super('refused');
    this.reply = reply;
  }
}

export async function startCloudflare(token: string, zones: readonly string[]) {
  const store = new ZoneStore(zones);
  const handle = (request: FakeRequest): FakeReply => {
    if (request.headers.authorization !== `Bearer ${token}`) return no(403, 9109, 'Invalid access token');
    const { method, path, query } = request;
    if (path === '/zones' && method === 'GET') {
      const found = zones.filter((zone) => zone === query.get('name'));
      const result = found.map((name) => ({
        id: `zone-${name}`,
        name,
        name_servers: ['amy.ns.cloudflare.com'],
      }));
      return ok(result, {
        page: 1,
        per_page: 20,
        count: result.length,
        total_count: result.length,
        total_pages: 1,
      });
    }
    const zone = zones.find((name) => path.startsWith(`/zones/zone-${name}/dns_records`));
    if (zone === undefined) return no(404, 7003, 'Could not route to the zone');
    if (method === 'GET') {
      const page = Number(query.get('page') ?? 1);
      const size = Number(query.get('per_page') ?? 100);
      if (size > 5_000_000) return no(400, 9207, 'per_page is too large');
      const all = store.of(zone);
      const result = pageOf(all, page, size).map(wireOf);
      const totals = {
        count: result.length,
        total_count: all.length,
        total_pages: Math.ceil(all.length / size),
      };
      return ok(result, { page, per_page: size, ...totals });
    }
    if (path.endsWith('/batch') && method === 'POST') {
      const before = store.records;
      try {
        const body = JSON.parse(request.body) as {
          deletes?: { id: string }[];
          puts?: Wire[];
          posts?: Wire[];
        };
        for (const { id } of body.deletes ?? []) store.remove(Number(id));
        for (const wire of body.puts ?? []) {
          const record = recordOf(zone, wire);
          store.remove(Number(wire.id));
          check(store, record);
          store.add(record);
        }
        for (const wire of body.posts ?? []) {
          const record = recordOf(zone, wire);
          check(store, record);
          store.add(record);
        }
        return ok({});
      } catch (error) {
        // One transaction: nothing of a refused batch stays.
        store.records = before;
        if (error instanceof Refusal) return error.reply;
        throw error;
      }
    }
    return no(405, 10_000, 'Method not allowed');
  };
  return { ...(await startHttpFake(handle)), store };
}

function check(store: ZoneStore, record: Omit<StoredRecord, 'id'>): void {
  if (store.conflicts(record.zone, record.name, record.type)) {
    const code = record.type === 'CNAME' ? 81053 : 81054;
    throw new Refusal(no(400, code, 'A record with that host already exists.'));
  }
  if (store.setOf(record.zone, record.name, record.type).some(({ value }) => value === record.value)) {
    throw new Refusal(no(400, 81058, 'An identical record already exists.'));
  }
}

function recordOf(zone: string, wire: Wire): Omit<StoredRecord, 'id'> {
  if (wire.name !== zone && !wire.name.endsWith(`.${zone}`))
    throw new Refusal(no(400, 9000, 'DNS name is invalid.'));
  if (wire.ttl !== 1 && wire.ttl < 60)
    throw new Refusal(no(400, 9021, 'Invalid TTL. Must be between 60 and 86400'));
  const value = canonicalValue(wire.type, textOf(wire));
  return { zone, name: wire.name, type: wire.type, value, ttlSec: wire.ttl, proxied: wire.proxied ?? false };
}

function textOf({ type, content, priority, data }: Wire): string {
  if (type === 'SRV' || type === 'CAA' || type === 'TLSA') {
    if (content !== undefined || data === undefined)
      throw new Refusal(no(400, 1004, `${type} needs data, not content`));
    if (type === 'SRV') return `${data.priority} ${data.weight} ${data.port} ${data.target}.`;
    if (type === 'CAA') return `${data.flags} ${data.tag} "${data.value}"`;
    return `${data.usage} ${data.selector} ${data.matching_type} ${data.certificate}`;
  }
  if (content === undefined) throw new Refusal(no(400, 9020, 'content is required'));
  if (type === 'TXT' && !content.startsWith('"'))
    throw new Refusal(no(400, 9009, 'Text must be quoted strings'));
  if (type === 'MX') {
    if (priority === undefined) throw new Refusal(no(400, 9020, 'priority is required'));
    return `${priority} ${content}.`;
  }
  return type === 'CNAME' ? `${content}.` : content;
}

/** As the API shows a record. */
function wireOf({ id, name, type, value, ttlSec, proxied }: StoredRecord) {
  const base = { id: String(id), name, type, ttl: ttlSec, proxied: proxied ?? false, proxiable: true };
  const parts = value.split(' ');
  const bare = (host = '') => host.replace(/\.$/, '');
  switch (type) {
    case 'MX':
      return { ...base, priority: Number(parts[0]), content: bare(parts[1]) };
    case 'SRV': {
      const [priority, weight, port] = parts.map(Number);
      const target = bare(parts[3]);
      return {
        ...base,
        priority,
        content: `${weight} ${port} ${target}`,
        data: { priority, weight, port, target },
      };
    }
    case 'CNAME':
    case 'NS':
      return { ...base, content: bare(value) };
    default:
      return { ...base, content: value };
  }
}
