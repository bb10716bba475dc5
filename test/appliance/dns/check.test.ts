import { describe, expect, test } from 'vitest';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import { type RelayDnsInput, wantedRecords } from '../../../appliance/contract/dns-records.ts';
import { checkDns } from '../../../appliance/dns/check.ts';
import { findDelegation, LookupError } from '../../../appliance/dns/delegation.ts';
import { reverseName, surveyDns } from '../../../appliance/dns/survey.ts';
import { recordLines } from '../../../appliance/dns/zone-text.ts';
import { type Table, tableExchange, tableResolver, type TableZone } from '../../fakes/dns/table.ts';

const domainName = 'chat.example.org';
const input: RelayDnsInput = {
  domain: parseDomain(domainName),
  ipv4: ['203.0.113.5'],
  ipv6: [],
  dkimKeys: [{ selector: 'opendkim', algorithm: 'rsa', publicKeyBase64: 'MIIB'.repeat(98) }],
};
const wanted = wantedRecords(input);
/** The wanted records as lines of the table. */
const right = wanted.flatMap((set) =>
  recordLines(set).map((line) => line.replace('. ', ' ').replace(' IN ', ' ')),
);

const ns = { 'ns1.example.org': ['192.0.2.1'], 'ns2.example.net': ['192.0.2.2', '2001:db8::2'] };
const world = (zone: Partial<TableZone> = {}, rest: Partial<Table> = {}): Table => ({
  zones: {
    org: { servers: { 'a.org-servers.net': ['192.0.2.100'] }, records: [] },
    '113.0.203.in-addr.arpa': {
      servers: { 'ns.isp.net': ['192.0.2.101'] },
      records: ['5.113.0.203.in-addr.arpa 3600 PTR chat.example.org.'],
    },
    'example.org': { servers: ns, records: right, ...zone },
  },
  ...rest,
});

async function check(table: Table, using: RelayDnsInput = input) {
  const context = {
    exchange: tableExchange(table),
    resolvers: [tableResolver],
    signal: AbortSignal.timeout(5000),
  };
  const delegation = await findDelegation(domainName, context);
  const addresses = [...using.ipv4, ...using.ipv6];
  const records = wantedRecords(using);
  const survey = await surveyDns(delegation, { domainName, wanted: records, addresses }, context);
  return checkDns(records, survey, { domainName, addresses });
}
const problems = async (table: Table, using?: RelayDnsInput) => (await check(table, using)).findings;
/** The right records, with some lines changed. */
const but = (remove: RegExp, ...add: string[]) => [...right.filter((line) => !remove.test(line)), ...add];

describe('checkDns', () => {
  test('has nothing to say when everything is right, on every server', async () => {
    const report = await check(world());
    expect(report.findings).toEqual([]);
    expect(report.ok).toBe(true);
    expect(report.records.every(({ state }) => state === 'fine')).toBe(true);
  });

  test('names everything that is missing in one go, with the line for each', async () => {
    const report = await check(world({ records: [] }));
    expect(report.ok).toBe(false);
    const missing = report.findings.filter(({ code }) => code === 'missing');
    expect(missing.flatMap(({ add }) => add).sort()).toEqual(wanted.flatMap(recordLines).sort());
    expect(
      missing.filter(({ severity }) => severity === 'error').map(({ name, type }) => `${name} ${type}`),
    ).toEqual(wanted.filter(({ level }) => level === 'required').map(({ name, type }) => `${name} ${type}`));
  });

  test('only recommended records missing is no failure', async () => {
    const report = await check(world({ records: but(/_dmarc|SRV|CAA|_adsp|spf1/) }));
    expect(report.ok).toBe(true);
    expect(report.findings.every(({ severity }) => severity === 'warning')).toBe(true);
    expect(report.findings).toHaveLength(8);
  });

  test('tells a second SPF record, a stray MX and a foreign key, and what to take out', async () => {
    const found = await problems(
      world({
        records: but(
          /_domainkey\.chat.*DKIM1|_nothing/,
          'chat.example.org 600 TXT "v=spf1 include:old.example ~all"',
          'chat.example.org 600 TXT "google-site-verification=1"',
          'chat.example.org 600 MX 20 old.example.net.',
          'opendkim._domainkey.chat.example.org 600 TXT "v=DKIM1; k=rsa; p=AAAA"',
        ),
      }),
    );
    expect(found.map(({ code, type, name }) => `${code} ${type} ${name}`)).toEqual([
      'dangerous MX chat.example.org',
      'dangerous TXT opendkim._domainkey.chat.example.org',
      'dangerous TXT chat.example.org',
    ]);
    expect(found.flatMap(({ remove }) => remove)).toEqual([
      'chat.example.org. 600 IN MX 20 old.example.net.',
      'opendkim._domainkey.chat.example.org. 600 IN TXT "v=DKIM1; k=rsa; p=AAAA"',
      'chat.example.org. 600 IN TXT "v=spf1 include:old.example ~all"',
    ]);
    expect(found.every(({ severity }) => severity === 'error')).toBe(true);
  });

  test('an alias may be the addresses themselves, but not others', async () => {
    const table = world({ records: but(/^www/, 'www.chat.example.org 60 A 203.0.113.5') });
    expect(await problems(table)).toEqual([]);
    const other = world({ records: but(/^www/, 'www.chat.example.org 60 A 203.0.113.77') });
    const [finding] = await problems(other);
    expect(finding).toMatchObject({ code: 'wrong', type: 'CNAME' });
    expect(finding?.remove).toEqual(['www.chat.example.org. 60 IN A 203.0.113.77']);
  });

  test('an alias at the domain itself is said once for each record it hides', async () => {
    const found = await problems(
      world({ records: but(/^chat\.example\.org /, 'chat.example.org 60 CNAME host.example.net.') }),
    );
    const hidden = found.filter(({ code }) => code === 'cname-in-the-way');
    expect(hidden.map(({ type }) => type).sort()).toEqual(['A', 'CAA', 'MX', 'TXT']);
    expect(hidden[0]?.remove).toEqual(['chat.example.org. 60 IN CNAME host.example.net.']);
  });

  test('a text behind an alias counts where it is right', async () => {
    const text = right.find((line) => line.startsWith('_dmarc')) ?? '';
    const table = world({
      records: but(
        /^_dmarc/,
        '_dmarc.chat.example.org 60 CNAME policy.example.org.',
        text.replace('_dmarc.chat', 'policy'),
      ),
    });
    expect(await problems(table)).toEqual([]);
  });

  test('a server that is behind is told from one that is wrong, with the serials', async () => {
    const table = world({}, { servers: { '192.0.2.2': { records: but(/ MX /) } } });
    const [finding, ...rest] = await problems(table);
    expect(rest).toEqual([]);
    expect(finding).toMatchObject({ code: 'not-everywhere', type: 'MX', severity: 'error' });
    expect(finding?.message).toContain('not yet on ns2.example.net (192.0.2.2), serial 6');
  });

  test('a resolver that still has the older answer is not a fault of the zone', async () => {
    const table = world(
      {},
      { cached: { 'example.org': but(/ MX /, 'chat.example.org 120 MX 10 old.example.net.') } },
    );
    const found = await problems(table);
    expect(found).toMatchObject([{ code: 'not-yet-visible', type: 'MX' }]);
    expect(found[0]?.fix).toContain('2 minutes');
    const negative = world({}, { cached: { 'example.org': but(/ MX /) } });
    expect((await problems(negative))[0]?.fix).toContain('5 minutes');
  });

  test('servers down, lame, odd or out of reach are each called that', async () => {
    const down = await problems(world({}, { servers: { '192.0.2.1': { state: 'down' } } }));
    expect(down).toMatchObject([{ code: 'server-down', severity: 'warning' }]);
    const lame = await problems(world({}, { servers: { '192.0.2.1': { state: 'lame' } } }));
    expect(lame).toMatchObject([{ code: 'server-lame', severity: 'error' }]);
    const odd = await problems(world({}, { servers: { '192.0.2.1': { state: 'servfail' } } }));
    expect(odd.map(({ code }) => code)).toContain('server-down');
    const noSix = await problems(world({}, { servers: { '2001:db8::2': { state: 'unreachable' } } }));
    expect(noSix).toMatchObject([{ code: 'server-not-asked', severity: 'note' }]);
    // Many networks without IPv6 are silent about it.
    const silent = await problems(world({}, { servers: { '2001:db8::2': { state: 'down' } } }));
    expect(silent).toMatchObject([{ code: 'server-not-asked', severity: 'note' }]);
    const all = Object.fromEntries(
      ['192.0.2.1', '192.0.2.2', '2001:db8::2'].map((a) => [a, { state: 'down' as const }]),
    );
    expect(await problems(world({}, { servers: all }))).toMatchObject([
      { code: 'server-down', severity: 'error' },
    ]);
  });

  test('a delegation that differs from the zone is said', async () => {
    const found = await problems(world({ parentServers: ['ns1.example.org', 'ns9.old.example'] }));
    expect(found).toMatchObject([{ code: 'delegation', severity: 'warning' }]);
    expect(found[0]?.message).toContain('ns9.old.example');
  });

  test('an address family that was not named is said, with both ways out', async () => {
    const found = await problems(world({ records: [...right, 'chat.example.org 60 AAAA 2001:db8::99'] }));
    expect(found).toMatchObject([{ code: 'stray', type: 'AAAA', severity: 'error' }]);
    expect(found[0]?.fix).toContain('--ipv6 2001:db8::99');
  });

  test('a CAA record of the parent forbids too', async () => {
    const records = [...but(/ CAA /), 'example.org 60 CAA 0 issue "other-ca.example"'];
    const found = await problems(world({ records }));
    expect(found.map(({ code }) => code)).toEqual(['caa-forbids', 'missing']);
    expect(found[0]?.add).toEqual(['chat.example.org. 3600 IN CAA 0 issue "letsencrypt.org"']);
    const allowed = [...but(/ CAA /), 'example.org 60 CAA 0 issue "letsencrypt.org"'];
    expect((await problems(world({ records: allowed }))).map(({ code }) => code)).toEqual(['missing']);
  });

  test('a missing or one-way PTR record is a warning that names its place', async () => {
    const table = world();
    const reverse = (records: string[]): Table => ({
      ...table,
      zones: {
        ...table.zones,
        '113.0.203.in-addr.arpa': { servers: { 'ns.isp.net': ['192.0.2.101'] }, records },
      },
    });
    expect((await problems(reverse([])))[0]).toMatchObject({ code: 'reverse', severity: 'warning' });
    const [odd] = await problems(reverse(['5.113.0.203.in-addr.arpa 60 PTR host5.isp.net.']));
    expect(odd?.message).toContain('host5.isp.net');
    expect(odd?.fix).toContain('where you rent the server');
  });

  test('a pin that nobody knows anything about is a warning', async () => {
    const records = [...right, `_25._tcp.chat.example.org 60 TLSA 3 1 1 ${'ab'.repeat(32)}`];
    expect(await problems(world({ records }))).toMatchObject([
      { code: 'stray', type: 'TLSA', severity: 'warning' },
    ]);
  });
});

describe('findDelegation', () => {
  const find = (table: Table, name = domainName) =>
    findDelegation(name, {
      exchange: tableExchange(table),
      resolvers: [tableResolver],
      signal: AbortSignal.timeout(5000),
    });
  const code = (table: Table, name?: string) =>
    find(table, name).then(
      () => 'found',
      (error: unknown) => (error instanceof LookupError ? error.code : String(error)),
    );

  test('finds zone, servers on both families, parent and the time that absence is remembered', async () => {
    expect(await find(world({ signed: true }))).toEqual({
      zone: 'example.org',
      servers: [
        { name: 'ns1.example.org', address: '192.0.2.1' },
        { name: 'ns2.example.net', address: '192.0.2.2' },
        { name: 'ns2.example.net', address: '2001:db8::2' },
      ],
      unresolvable: [],
      zoneNames: ['ns1.example.org', 'ns2.example.net'],
      parentNames: ['ns1.example.org', 'ns2.example.net'],
      dnssec: 'secure',
      negativeTtlSec: 300,
    });
  });

  test('says which way a domain can not be reached', async () => {
    expect(await code(world(), 'chat.absent.org')).toBe('not-delegated');
    expect(await code(world({}, { bogus: ['example.org'] }))).toBe('dnssec-bogus');
    expect(await code(world({}, { resolverDown: true }))).toBe('no-resolver');
    expect(await code(world({ servers: { 'ns.nowhere.example': [] } }))).toBe('servers-fail');
  });
});

describe('reverseName', () => {
  test('is that of RFC 1035 and RFC 3596', () => {
    expect(reverseName('203.0.113.5')).toBe('5.113.0.203.in-addr.arpa');
    expect(reverseName('2001:db8::567:89ab')).toBe(
      'b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa',
    );
  });
});
