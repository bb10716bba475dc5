/**
 * Amazon Route 53. Documentation: https://docs.aws.amazon.com/Route53/latest/APIReference/ —
 * ListHostedZonesByName, GetHostedZone, ListResourceRecordSets (sorted by name with the labels reversed,
 * paged by the next name and type), ChangeResourceRecordSets (one batch is one transaction; a DELETE must
 * repeat the set exactly), and …/DeveloperGuide/ResourceRecordTypes.html, DomainNameFormat.html (bytes
 * outside of a-z, 0-9 and a few more are octal, `\052`, in names and texts).
 */
import { withParents } from '../name.ts';
import {
  type DnsProvider,
  type HeldRecordSet,
  type ProviderContext,
  type ProviderDefinition,
  type ProviderErrorCode,
  requireCredential,
  type Zone,
} from '../provider.ts';
import { canonicalValues } from '../rdata.ts';
import { type AwsKeys, awsHeaders } from './aws-signature.ts';
import { createHttpApi, type HttpRequest } from './http-api.ts';
import { refuseConflicts, withMinimumTtl } from './reconcile.ts';

export const route53: ProviderDefinition = {
  name: 'route53',
  title: 'Amazon Route 53',
  credentials: [
    { variable: 'AWS_ACCESS_KEY_ID', title: 'Access key id', secret: false },
    { variable: 'AWS_SECRET_ACCESS_KEY', title: 'Secret access key', secret: true },
    { variable: 'AWS_SESSION_TOKEN', title: 'Session token', secret: true, optional: true },
  ],
  instructions:
    'Make an access key in IAM that may route53:ListHostedZonesByName, GetHostedZone, ListResourceRecordSets and ChangeResourceRecordSets',
  nameServerPattern: /\.awsdns-\d+\.(com|net|org|co\.uk)$/,
  create: async (credentials, context) => createRoute53(readKeys(credentials), context),
};

function readKeys(credentials: Readonly<Record<string, string>>): AwsKeys {
  return {
    accessKeyId: requireCredential(credentials, 'AWS_ACCESS_KEY_ID'),
    secretAccessKey: requireCredential(credentials, 'AWS_SECRET_ACCESS_KEY'),
    sessionToken: credentials.AWS_SESSION_TOKEN?.trim() || undefined,
  };
}

const codes: Readonly<Record<string, ProviderErrorCode>> = {
  InvalidClientTokenId: 'wrong-credentials',
  SignatureDoesNotMatch: 'wrong-credentials',
  UnrecognizedClientException: 'wrong-credentials',
  ExpiredToken: 'wrong-credentials',
  AccessDenied: 'not-allowed',
  AccessDeniedException: 'not-allowed',
  Throttling: 'rate-limited',
  ThrottlingException: 'rate-limited',
  // The change before this one is still being carried out.
  PriorRequestNotComplete: 'rate-limited',
  NoSuchHostedZone: 'zone-not-found',
  InvalidChangeBatch: 'rejected',
  InvalidInput: 'rejected',
};

const setsPerPage = 300;
const maxPagesPerName = 20;
const namespace = 'https://route53.amazonaws.com/doc/2013-04-01/';

/** A set with the XML it came in, which a DELETE must repeat. */
interface StoredSet extends HeldRecordSet {
  readonly xml: string;
}

function createRoute53(keys: AwsKeys, context: ProviderContext): DnsProvider {
  const api = createHttpApi({
    title: 'Route 53',
    baseUrl: context.baseUrl ?? 'https://route53.amazonaws.com/2013-04-01',
    context,
    secrets: [keys.secretAccessKey, keys.sessionToken ?? ''],
    headers: (request) => ({
      accept: 'application/xml',
      ...(request.body === '' ? {} : { 'content-type': 'application/xml' }),
      ...awsHeaders(request, keys, { region: 'us-east-1', service: 'route53' }, context.clock()),
    }),
    explain({ status, text }) {
      if (status < 300) return null;
      const code = codes[element(text, 'Code') ?? ''];
      const message = element(text, 'Message');
      return { ...(code === undefined ? {} : { code }), ...(message === undefined ? {} : { message }) };
    },
  });
  const get = (path: string, request: HttpRequest) => api.request('GET', path, request);
  const zonePath = (zone: Zone) => `/hostedzone/${encodeURIComponent(zone.id)}`;

  const storedAt = async (zone: Zone, name: string, signal: AbortSignal): Promise<StoredSet[]> => {
    const found: StoredSet[] = [];
    let from: Record<string, string> = { name: `${name}.` };
    for (let page = 0; page < maxPagesPerName; page++) {
      const query = { ...from, maxitems: String(setsPerPage) };
      const { text } = await get(`${zonePath(zone)}/rrset`, { signal, query });
      const truncated = element(text, 'IsTruncated');
      // An answer without it is none; taking it for an empty zone would be a mistake.
      if (truncated === undefined)
        throw api.error('unexpected', 'an answer we do not understand: no IsTruncated');
      const sets = elements(text, 'ResourceRecordSet').map(readSet);
      found.push(...sets.filter((set) => set.name === name));
      const nextName = element(text, 'NextRecordName');
      if (truncated !== 'true' || nextName === undefined || plainName(nextName) !== name) break;
      const identifier = element(text, 'NextRecordIdentifier');
      from = {
        name: nextName,
        type: element(text, 'NextRecordType') ?? '',
        ...(identifier === undefined ? {} : { identifier }),
      };
    }
    return found;
  };
  const stored = async (zone: Zone, names: readonly string[], signal: AbortSignal): Promise<StoredSet[]> => {
    const found: StoredSet[] = [];
    // One at a time: five requests a second are all that an account has.
    for (const name of names) found.push(...(await storedAt(zone, name, signal)));
    return found;
  };
  const change = async (zone: Zone, changes: readonly string[], signal: AbortSignal): Promise<void> => {
    if (changes.length === 0) return;
    const body = `<?xml version="1.0" encoding="UTF-8"?><ChangeResourceRecordSetsRequest xmlns="${namespace}"><ChangeBatch><Changes>${changes.join('')}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>`;
    await api.request('POST', `${zonePath(zone)}/rrset/`, { signal, body });
  };

  return {
    atomic: true,
    unsupportedTypes: [],
    minimumTtlSec: 0,

    async findZone(name, { signal }) {
      for (const candidate of withParents(name)) {
        const query = { dnsname: `${candidate}.`, maxitems: '10' };
        const { text } = await get('/hostedzonesbyname', { signal, query });
        const zone = elements(text, 'HostedZone').find(
          (xml) =>
            plainName(element(xml, 'Name') ?? '') === candidate && element(xml, 'PrivateZone') !== 'true',
        );
        if (zone === undefined) continue;
        const id = (element(zone, 'Id') ?? '').replace('/hostedzone/', '');
        const details = await get(`/hostedzone/${encodeURIComponent(id)}`, { signal });
        const nameServers = elements(details.text, 'NameServer').map((server) =>
          plainName(unescapeXml(server)),
        );
        return { name: candidate, id, nameServers };
      }
      throw api.error('zone-not-found', `the account has no public hosted zone that holds ${name}`);
    },

    async list(zone, names, { signal }) {
      return mergeRouted(await stored(zone, names, signal));
    },

    async upsert(zone, wanted, { signal }) {
      const sets = withMinimumTtl(wanted, 0);
      if (sets.length === 0) return;
      for (const set of sets) {
        if (set.altered === undefined) continue;
        throw api.error('rejected', `${set.name} ${set.type} was no plain record but an ${set.altered} one`, {
          fix: `Make it again in the AWS console: ${set.values.join(', ')}`,
        });
      }
      const held = await stored(zone, [...new Set(sets.map((set) => set.name))], signal);
      await refuseConflicts({ list: async () => held }, zone, sets, { signal });
      const changes = sets.flatMap((set) => [
        // A set with routing is many: all of them go in the same transaction.
        ...held
          .filter((one) => one.altered === 'routed' && one.name === set.name && one.type === set.type)
          .map(({ xml }) => changeXml('DELETE', xml)),
        changeXml('UPSERT', setXml(set)),
      ]);
      await change(zone, changes, signal);
    },

    async delete(zone, keys, { signal }) {
      const held = await stored(zone, [...new Set(keys.map((key) => key.name))], signal);
      const doomed = held.filter((set) => keys.some((key) => key.name === set.name && key.type === set.type));
      await change(
        zone,
        doomed.map(({ xml }) => changeXml('DELETE', xml)),
        signal,
      );
    },
  };
}

function changeXml(action: 'UPSERT' | 'DELETE', setContent: string): string {
  return `<Change><Action>${action}</Action><ResourceRecordSet>${setContent}</ResourceRecordSet></Change>`;
}

function setXml(set: HeldRecordSet): string {
  const records = set.values.map(
    (value) => `<ResourceRecord><Value>${escapeXml(toOctal(set.type, value))}</Value></ResourceRecord>`,
  );
  return `<Name>${escapeXml(set.name)}.</Name><Type>${set.type}</Type><TTL>${set.ttlSec}</TTL><ResourceRecords>${records.join('')}</ResourceRecords>`;
}

function readSet(xml: string): StoredSet {
  const name = plainName(element(xml, 'Name') ?? '');
  const type = element(xml, 'Type') ?? '';
  const ttlSec = Number(element(xml, 'TTL') ?? 0);
  const target = element(element(xml, 'AliasTarget') ?? '', 'DNSName');
  if (target !== undefined)
    return { name, type, ttlSec, values: [`alias of ${target}`], altered: 'alias', xml };
  const texts = elements(xml, 'Value').map((value) => fromOctal(unescapeXml(value)));
  const routed = element(xml, 'SetIdentifier') === undefined ? {} : { altered: 'routed' as const };
  return { name, type, ttlSec, values: canonicalValues(type, texts), ...routed, xml };
}

/** Sets that routing splits into many are one to the world. */
function mergeRouted(sets: readonly StoredSet[]): HeldRecordSet[] {
  const merged = new Map<string, HeldRecordSet>();
  for (const { xml: _, ...set } of sets) {
    const key = `${set.name} ${set.type}`;
    const other = merged.get(key);
    const values = other === undefined ? set.values : [...new Set([...other.values, ...set.values])].sort();
    merged.set(key, { ...set, values });
  }
  return [...merged.values()];
}

const toOctal = (type: string, value: string) =>
  type === 'TXT'
    ? value.replace(/\\(\d{3})|\\./g, (all, code?: string) =>
        code === undefined ? all : `\\${Number(code).toString(8).padStart(3, '0')}`,
      )
    : value;
const fromOctal = (value: string) =>
  value.replace(/\\([0-7]{3})|\\./g, (all, code?: string) =>
    code === undefined ? all : `\\${String(parseInt(code, 8)).padStart(3, '0')}`,
  );

/** A name as the API spells it, as ours. */
function plainName(text: string): string {
  return text
    .replace(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(parseInt(code, 8)))
    .replace(/\.$/, '')
    .toLowerCase();
}

/**
 * The contents of every element of that name. Enough for these answers: their elements carry no attributes
 * but the root's, and none contains another of its own name.
 */
function elements(xml: string, name: string): string[] {
  return [...xml.matchAll(new RegExp(`<${name}>([^]*?)</${name}>`, 'g'))].map((match) => match[1] ?? '');
}

function element(xml: string, name: string): string | undefined {
  const content = elements(xml, name)[0];
  return content === undefined || content.includes('<') ? content : unescapeXml(content);
}

const entities: Readonly<Record<string, string>> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' };

function unescapeXml(text: string): string {
  return text.replace(
    /&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]+));/gi,
    (all, decimal?: string, hex?: string, name?: string) => {
      if (name !== undefined) return entities[name] ?? all;
      return String.fromCodePoint(decimal === undefined ? parseInt(hex ?? '', 16) : Number(decimal));
    },
  );
}

function escapeXml(text: string): string {
  return text.replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
