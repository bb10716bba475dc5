/** https://docs.aws.amazon.com/Route53/latest/APIReference/ as a fake; it checks signatures by itself. */
import { createHash, createHmac } from 'node:crypto';
import { canonicalValue } from '../../../appliance/dns/rdata.ts';
import { type FakeReply, type FakeRequest, startHttpFake, ZoneStore } from './http-fake.ts';

const xml = (status: number, text: string): FakeReply => ({
  status,
  headers: { 'content-type': 'text/xml' },
  text: `<?xml version="1.0"?>\n${text}`,
});
const failure = (status: number, code: string, message: string): FakeReply =>
  xml(
    status,
    `<ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error><RequestId>1</RequestId></ErrorResponse>`,
  );

/** Sets that are not plain records, as they would come from the console. */
export interface SpecialSet {
  readonly name: string;
  readonly type: string;
  readonly xml: string;
}

export async function startRoute53(keys: { id: string; secret: string }, zones: readonly string[]) {
  const store = new ZoneStore(zones);
  const special: SpecialSet[] = [];
  const handle = (request: FakeRequest): FakeReply => {
    const bad = signatureFault(request, keys);
    if (bad !== null) return bad;
    const { method, path, query } = request;
    if (path === '/hostedzonesbyname') {
      const from = query.get('dnsname') ?? '';
      const listed = zones
        .filter((zone) => sortKey(`${zone}.`) >= sortKey(from))
        .sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
      const found = listed
        .slice(0, Number(query.get('maxitems') ?? 100))
        .map(
          (zone) =>
            `<HostedZone><Id>/hostedzone/Z${zones.indexOf(zone)}</Id><Name>${zone}.</Name><Config><PrivateZone>false</PrivateZone></Config></HostedZone>`,
        );
      return xml(
        200,
        `<ListHostedZonesByNameResponse><HostedZones>${found.join('')}</HostedZones></ListHostedZonesByNameResponse>`,
      );
    }
    const [, index = '', rest = ''] = /^\/hostedzone\/Z(\d+)(\/rrset\/?)?$/.exec(path) ?? [];
    const zone = zones[Number(index)];
    if (zone === undefined) return failure(404, 'NoSuchHostedZone', 'No hosted zone found');
    if (rest === '') {
      return xml(
        200,
        '<GetHostedZoneResponse><DelegationSet><NameServers><NameServer>ns-1.awsdns-01.com</NameServer></NameServers></DelegationSet></GetHostedZoneResponse>',
      );
    }
    if (method === 'GET') return list(store, special, zone, query);
    return change(store, special, zone, request.body);
  };
  return { ...(await startHttpFake(handle)), store, special };
}

/** Names sort by their labels from the right. */
const sortKey = (name: string) => name.replace(/\.$/, '').split('.').toReversed().join('.');
const octalName = (name: string) => name.replace('*', '\\052');
const toOctal = (value: string) =>
  value.replace(/\\(\d{3})/g, (_, code: string) => `\\${Number(code).toString(8).padStart(3, '0')}`);
const fromOctal = (value: string) =>
  value.replace(/\\([0-7]{3})/g, (_, code: string) => `\\${String(parseInt(code, 8)).padStart(3, '0')}`);
const escape = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
const unescape = (text: string) =>
  text
    .replace(/&#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code)))
    .replaceAll('&quot;', '"')
    .replaceAll('&lt;', '<')
    .replaceAll('&amp;', '&');
const content = (text: string, name: string) => new RegExp(`<${name}>([^]*?)</${name}>`).exec(text)?.[1];

function setXml(store: ZoneStore, zone: string, name: string, type: string): string {
  const set = store.setOf(zone, name, type);
  const records = set.map(
    ({ value }) => `<ResourceRecord><Value>${escape(toOctal(value))}</Value></ResourceRecord>`,
  );
  return `<Name>${octalName(name)}.</Name><Type>${type}</Type><TTL>${set[0]?.ttlSec ?? 0}</TTL><ResourceRecords>${records.join('')}</ResourceRecords>`;
}

function list(
  store: ZoneStore,
  special: readonly SpecialSet[],
  zone: string,
  query: URLSearchParams,
): FakeReply {
  const keys = new Map(store.of(zone).map(({ name, type }) => [`${name} ${type}`, { name, type }]));
  const sets = [
    ...[...keys.values()].map(({ name, type }) => ({ name, type, xml: setXml(store, zone, name, type) })),
    ...special,
  ].sort((a, b) => (`${sortKey(a.name)} ${a.type}` < `${sortKey(b.name)} ${b.type}` ? -1 : 1));
  const from = query.get('name') ?? '';
  const startKey = `${sortKey(from)} ${query.get('type') ?? ''}`;
  const rest = sets.filter((set) => `${sortKey(set.name)} ${set.type}` >= startKey);
  // Few on a page, so that reading one name takes several.
  const page = rest.slice(0, Math.min(2, Number(query.get('maxitems') ?? 300)));
  const next = rest[page.length];
  const more =
    next === undefined
      ? '<IsTruncated>false</IsTruncated>'
      : `<IsTruncated>true</IsTruncated><NextRecordName>${octalName(next.name)}.</NextRecordName><NextRecordType>${next.type}</NextRecordType>`;
  const body = page.map((set) => `<ResourceRecordSet>${set.xml}</ResourceRecordSet>`).join('');
  return xml(
    200,
    `<ListResourceRecordSetsResponse><ResourceRecordSets>${body}</ResourceRecordSets>${more}</ListResourceRecordSetsResponse>`,
  );
}

function change(store: ZoneStore, special: SpecialSet[], zone: string, body: string): FakeReply {
  const before = store.records;
  const specialBefore = [...special];
  const refuse = (message: string): FakeReply => {
    store.records = before;
    special.splice(0, special.length, ...specialBefore);
    return failure(400, 'InvalidChangeBatch', message);
  };
  for (const [, one = ''] of body.matchAll(/<Change>([^]*?)<\/Change>/g)) {
    const set = content(one, 'ResourceRecordSet') ?? '';
    const name = (content(set, 'Name') ?? '').replace(/\.$/, '').replace('\\052', '*');
    const type = content(set, 'Type') ?? '';
    const values = [...set.matchAll(/<Value>([^]*?)<\/Value>/g)].map((match) =>
      fromOctal(unescape(match[1] ?? '')),
    );
    if (content(one, 'Action') === 'DELETE') {
      const index = special.findIndex((candidate) => candidate.xml === set);
      if (index >= 0) special.splice(index, 1);
      else if (set === setXml(store, zone, name, type)) store.removeSet(zone, name, type);
      else return refuse(`Tried to delete resource record set ${name} ${type} but it was not found`);
      continue;
    }
    if (store.conflicts(zone, name, type))
      return refuse(`RRSet of type ${type} with DNS name ${name}. is not permitted`);
    if (
      special.some(
        (candidate) =>
          candidate.name === name && candidate.type === type && candidate.xml.includes('SetIdentifier'),
      )
    ) {
      return refuse('a simple record beside one with a set identifier');
    }
    const alias = special.findIndex((candidate) => candidate.name === name && candidate.type === type);
    if (alias >= 0) special.splice(alias, 1);
    if (type === 'TXT' && values.some((value) => !value.startsWith('"')))
      return refuse('Invalid Resource Record: quote the text');
    const canonical = values.map((value) => canonicalValue(type, value));
    store.putSet(zone, { name, type, ttlSec: Number(content(set, 'TTL')), values: canonical });
  }
  return xml(
    200,
    '<ChangeResourceRecordSetsResponse><ChangeInfo><Status>PENDING</Status></ChangeInfo></ChangeResourceRecordSetsResponse>',
  );
}

function signatureFault(request: FakeRequest, keys: { id: string; secret: string }): FakeReply | null {
  const authorization = request.headers.authorization ?? '';
  const parts =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/(us-east-1)\/(route53)\/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})$/.exec(
      authorization,
    );
  if (parts === null) return failure(403, 'IncompleteSignature', 'Authorization header is malformed');
  const [, id, date = '', region = '', service = '', names = '', signature] = parts;
  if (id !== keys.id)
    return failure(403, 'InvalidClientTokenId', 'The security token included in the request is invalid.');
  const time = request.headers['x-amz-date'] ?? '';
  const query = [...request.url.searchParams]
    .map((pair) => pair.map(encodeURIComponent).join('='))
    .sort()
    .join('&');
  const headers = names
    .split(';')
    .map((name) => `${name}:${request.headers[name] ?? ''}\n`)
    .join('');
  const hash = (text: string) => createHash('sha256').update(text).digest('hex');
  const canonical = `${request.method}\n${request.url.pathname}\n${query}\n${headers}\n${names}\n${hash(request.body)}`;
  const text = `AWS4-HMAC-SHA256\n${time}\n${date}/${region}/${service}/aws4_request\n${hash(canonical)}`;
  let key: Buffer = Buffer.from(`AWS4${keys.secret}`);
  for (const part of [date, region, service, 'aws4_request'])
    key = createHmac('sha256', key).update(part).digest();
  if (createHmac('sha256', key).update(text).digest('hex') === signature && names.includes('host'))
    return null;
  return failure(
    403,
    'SignatureDoesNotMatch',
    'The request signature we calculated does not match the signature you provided.',
  );
}
