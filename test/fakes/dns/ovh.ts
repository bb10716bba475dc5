/** https://eu.api.ovh.com/console/ (/domain/zone) as a fake: what is changed takes effect at the refresh. */
import { createHash } from 'node:crypto';
import { fromZoneFile } from '../../../appliance/dns/providers/values.ts';
import { txtText } from '../../../appliance/dns/presentation.ts';
import {
  type FakeReply,
  type FakeRequest,
  jsonOf,
  startHttpFake,
  type StoredRecord,
  ZoneStore,
} from './http-fake.ts';

const failure = (status: number, errorCode: string, message: string): FakeReply => ({
  status,
  json: { class: `Client::${errorCode}`, errorCode, message, httpCode: String(status) },
});

export interface OvhKeys {
  readonly application: string;
  readonly secret: string;
  readonly consumer: string;
}

/** The server's clock is this far ahead of everybody's. */
const clockAheadSec = 4000;

export async function startOvh(keys: OvhKeys, zones: readonly string[]) {
  const store = new ZoneStore(zones);
  let published: readonly StoredRecord[] = store.records;
  const serverTime = () => Math.floor(Date.now() / 1000) + clockAheadSec;
  const handle = (request: FakeRequest): FakeReply => {
    const { method, path, query } = request;
    if (path === '/auth/time') return { status: 200, text: String(serverTime()) };
    const bad = signatureFault(request, keys, serverTime());
    if (bad !== null) return bad;
    if (path === '/domain/zone') return { status: 200, json: zones };
    const [, zone = '', rest = ''] = /^\/domain\/zone\/([^/]+)(.*)$/.exec(path) ?? [];
    if (!zones.includes(zone)) return failure(404, 'NOT_FOUND', 'This service does not exist');
    if (rest === '')
      return { status: 200, json: { name: zone, nameServers: ['dns10.ovh.net', 'ns10.ovh.net'] } };
    if (rest === '/refresh' && method === 'POST') {
      published = store.records;
      return { status: 200, text: 'null' };
    }
    if (rest === '/record' && method === 'GET') {
      const label = query.get('subDomain');
      const ids = store.of(zone).filter((record) => label === null || labelOf(record, zone) === label);
      return { status: 200, json: ids.map(({ id }) => id) };
    }
    const id = Number(/^\/record\/(\d+)$/.exec(rest)?.[1] ?? 0);
    const held = store.find(id);
    if (rest !== '/record' && held === undefined)
      return failure(404, 'NOT_FOUND', 'This record does not exist');
    if (method === 'GET' && held !== undefined) return { status: 200, json: wireOf(held, zone) };
    if (method === 'DELETE') {
      store.remove(id);
      return { status: 200, text: 'null' };
    }
    const { fieldType, subDomain, target, ttl } = jsonOf(request) as Record<string, string>;
    const type = fieldType ?? held?.type ?? '';
    if (Number(ttl) < 60) return failure(400, 'BAD_REQUEST', 'Invalid ttl, should be more than 60');
    const name = subDomain === '' ? zone : `${subDomain}.${zone}`;
    if (store.conflicts(zone, name, type))
      return failure(400, 'BAD_REQUEST', 'Invalid request: CNAME and others');
    const record = { zone, name, type, ttlSec: Number(ttl), value: fromZoneFile(type, target ?? '', zone) };
    if (method === 'PUT') store.replace(id, record);
    else store.add(record);
    return { status: 200, text: 'null' };
  };
  const truth = (name: string, type: string) => {
    const found = published.filter((record) => record.name === name && record.type === type);
    const [first] = found;
    return first === undefined ? null : { ttlSec: first.ttlSec, values: found.map(({ value }) => value) };
  };
  return { ...(await startHttpFake(handle)), store, truth };
}

const labelOf = (record: StoredRecord, zone: string) =>
  record.name === zone ? '' : record.name.slice(0, -zone.length - 1);

/** Mail texts are shown as types of OVH's own, without quotes. */
function wireOf(record: StoredRecord, zone: string) {
  const base = {
    id: record.id,
    zone,
    subDomain: labelOf(record, zone),
    ttl: record.ttlSec === 3600 ? 0 : record.ttlSec,
  };
  if (record.type !== 'TXT') return { ...base, fieldType: record.type, target: record.value };
  const text = txtText(record.value);
  const own = text.startsWith('v=spf1') ? 'SPF' : text.startsWith('v=DKIM1') ? 'DKIM' : null;
  return own === null
    ? { ...base, fieldType: 'TXT', target: record.value }
    : { ...base, fieldType: own, target: text };
}

function signatureFault(request: FakeRequest, keys: OvhKeys, serverTime: number): FakeReply | null {
  const { headers, method, url, body } = request;
  if (headers['x-ovh-application'] !== keys.application)
    return failure(403, 'INVALID_KEY', 'Invalid application key');
  if (headers['x-ovh-consumer'] !== keys.consumer)
    return failure(403, 'INVALID_CREDENTIAL', 'This credential is not valid');
  const time = headers['x-ovh-timestamp'] ?? '';
  if (Math.abs(Number(time) - serverTime) > 30) return failure(400, 'QUERY_TIME_OUT', 'Query out of time');
  const text = `${keys.secret}+${keys.consumer}+${method}+${url.href}+${body}+${time}`;
  if (headers['x-ovh-signature'] === `$1$${createHash('sha1').update(text).digest('hex')}`) return null;
  return failure(400, 'INVALID_SIGNATURE', 'Invalid signature');
}
