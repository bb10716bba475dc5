import { describe, expect, test } from 'vitest';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import { type RecordPurpose, txtValue, wantedRecords } from '../../../appliance/contract/dns-records.ts';
import { judge, mergedValues } from '../../../appliance/dns/meaning.ts';
import { canonicalValues } from '../../../appliance/dns/rdata.ts';

const key = 'MIIB'.repeat(98);
const account = 'https://acme.example/acct/1';
const wanted = (extra: object = {}) =>
  wantedRecords({
    domain: parseDomain('chat.example.org'),
    ipv4: ['203.0.113.5'],
    ipv6: ['2001:db8::5'],
    dkimKeys: [{ selector: 'opendkim', algorithm: 'rsa', publicKeyBase64: key }],
    tlsReportUri: 'mailto:a@example.net',
    tlsaSpkiSha256: ['ab'.repeat(32)],
    ...extra,
  });
const context = { domainName: 'chat.example.org', addresses: ['203.0.113.5', '2001:db8::5'] };

function verdict(purpose: RecordPurpose, type: string, values: readonly string[], extra: object = {}) {
  const record = wanted(extra).find((one) => one.purpose === purpose && one.type === type);
  if (record === undefined) throw new Error(`No wanted record for ${purpose}`);
  const held = canonicalValues(type, type === 'TXT' ? values.map(txtValue) : values);
  const judgement = judge(record, held, context);
  return { record, held, judgement, state: judgement.state, merged: mergedValues(record, judgement) };
}
const text = (purpose: RecordPurpose, ...values: string[]) => verdict(purpose, 'TXT', values);

describe('judge', () => {
  test('every record is fine as it is wanted', () => {
    for (const record of wanted()) {
      expect(judge(record, canonicalValues(record.type, record.values), context).state).toBe('fine');
    }
  });

  test('every record is missing where there is nothing, and where there are only others', () => {
    for (const record of wanted()) expect(judge(record, [], context).state).toBe('missing');
    expect(text('spf', 'google-site-verification=1').state).toBe('missing');
    expect(text('dmarc', 'unrelated').state).toBe('missing');
  });

  test.each([
    ['v=spf1 a ~all', 'fine'],
    ['v=spf1 a -all', 'fine'],
    ['V=SPF1 mx -all', 'fine'],
    ['v=spf1 a:chat.example.org -all', 'fine'],
    ['v=spf1 +a include:other.example ~all', 'fine'],
    ['v=spf1 include:other.example a ~all', 'fine'],
    ['v=spf1 ip4:203.0.113.0/24 ip6:2001:db8::/32 -all', 'fine'],
    ['v=spf1 ip4:203.0.113.5 -all', 'wrong'],
    ['v=spf1 ip4:203.0.113.5/33 ip6:2001:db8::5 -all', 'wrong'],
    ['v=spf1 -a ~all', 'wrong'],
    ['v=spf1 a:other.example ~all', 'wrong'],
    ['v=spf1 -all a', 'wrong'],
    ['v=spf1 a', 'wrong'],
    ['v=spf1 a ?all', 'wrong'],
    ['v=spf1 a +all', 'wrong'],
    ['v=spf1', 'wrong'],
  ])('SPF "%s" is %s', (value, state) => {
    expect(text('spf', value).state).toBe(state);
  });

  test('an SPF record that lets everybody send, or nobody, and a second one are dangerous', () => {
    expect(text('spf', 'v=spf1 a +all').judgement.dangerous).toBe(true);
    expect(text('spf', 'v=spf1 -all').judgement.dangerous).toBe(true);
    const two = text('spf', 'v=spf1 a ~all', 'v=spf1 include:other.example ~all', 'keep=me');
    expect(two.judgement).toMatchObject({ state: 'wrong', dangerous: true });
    expect(two.judgement.reason).toContain('more than one');
    expect(two.merged).toEqual([txtValue('keep=me'), txtValue('v=spf1 a ~all')]);
  });

  test.each([
    [`v=DKIM1;k=rsa;p=${key};s=email;t=s`, 'fine'],
    [`k=rsa; t=s; s=*; p=${key}; n=a note`, 'fine'],
    [`p=${key.slice(0, 100)} ${key.slice(100)}`, 'fine'],
    [`v=DKIM1; h=sha1:sha256; p=${key}`, 'fine'],
    ['v=DKIM1;k=rsa;p=', 'wrong'],
    ['v=DKIM1;k=rsa;p=AAAA', 'wrong'],
    [`v=DKIM1;k=ed25519;p=${key}`, 'wrong'],
    [`v=DKIM1; h=sha1; p=${key}`, 'wrong'],
    [`v=DKIM1; s=other; p=${key}`, 'wrong'],
    [`v=DKIM1; t=y:s; p=${key}`, 'wrong'],
    ['something else', 'wrong'],
  ])('a DKIM record "%.40s…" is %s', (value, state) => {
    expect(text('dkim', value).state).toBe(state);
  });

  test('a foreign key under our selector is dangerous, and goes', () => {
    const foreign = text('dkim', 'v=DKIM1;k=rsa;p=AAAA');
    expect(foreign.judgement.dangerous).toBe(true);
    expect(foreign.merged).toEqual(foreign.record.values);
    const both = text('dkim', `v=DKIM1;k=rsa;p=${key};s=email;t=s`, 'v=DKIM1;k=rsa;p=AAAA');
    expect(both.judgement).toMatchObject({ state: 'wrong', dangerous: true });
    expect(both.merged).toEqual(both.record.values);
  });

  test.each([
    ['v=DMARC1; p=reject; rua=mailto:x@example.net', 'fine'],
    ['v=DMARC1;p=REJECT', 'fine'],
    ['v=DMARC1;p=quarantine', 'wrong'],
    ['v=DMARC1;p=none', 'wrong'],
    ['v=DMARC1;p=reject;pct=50', 'wrong'],
    ['v=DMARC1', 'wrong'],
  ])('DMARC "%s" is %s', (value, state) => {
    expect(text('dmarc', value).state).toBe(state);
  });

  test('MTA-STS needs the id of this policy', () => {
    expect(text('mta-sts', 'v=STSv1; id=20240101T000000').judgement.reason).toContain('another policy');
    expect(text('mta-sts', 'v=STSv1; id=not good').judgement.reason).toContain('32 letters');
  });

  test('an MX to anywhere else is dangerous, the preference of a lone one means nothing', () => {
    expect(verdict('mx', 'MX', ['0 chat.example.org']).state).toBe('fine');
    const stray = verdict('mx', 'MX', ['10 chat.example.org', '20 old.example.net']);
    expect(stray.judgement).toMatchObject({ state: 'wrong', dangerous: true, drop: ['20 old.example.net.'] });
    expect(verdict('mx', 'MX', ['0 .']).judgement.reason).toContain('null MX');
  });

  test('an address that is not the relay is dangerous, one that is missing is not', () => {
    expect(verdict('address', 'A', ['203.0.113.5', '203.0.113.9']).judgement.dangerous).toBe(true);
    const two = wanted({ ipv4: ['203.0.113.5', '203.0.113.6'] }).find(({ type }) => type === 'A');
    if (two === undefined) throw new Error('No A record');
    expect(judge(two, ['203.0.113.5'], context)).toMatchObject({ state: 'wrong', dangerous: false });
  });

  test('CAA: what the relay may get certificates from counts', () => {
    const caa = (values: readonly string[], acmeAccountUri?: string) =>
      verdict('caa', 'CAA', values, { acmeAccountUri });
    expect(caa(['0 issue "other-ca.example"', '0 issue "letsencrypt.org"']).state).toBe('fine');
    expect(caa(['0 issue "letsencrypt.org; validationmethods=http-01"']).state).toBe('fine');
    expect(caa([`0 issue "letsencrypt.org;accounturi=${account}"`]).state).toBe('fine');
    expect(caa(['0 iodef "mailto:a@example.net"']).state).toBe('missing');
    expect(caa(['0 issue ";"']).judgement).toMatchObject({ state: 'wrong', dangerous: true });
    const other = caa(['0 issue "other-ca.example"', '0 iodef "mailto:a@example.net"']);
    expect(other.judgement.dangerous).toBe(true);
    expect(other.merged).toEqual([
      '0 iodef "mailto:a@example.net"',
      '0 issue "letsencrypt.org"',
      '0 issue "other-ca.example"',
    ]);
    const looser = caa(['0 issue "letsencrypt.org"'], account);
    expect(looser.judgement).toMatchObject({ state: 'wrong', dangerous: false });
    expect(looser.merged).toEqual([`0 issue "letsencrypt.org;accounturi=${account}"`]);
    expect(caa([`0 issue "letsencrypt.org;accounturi=${account}9"`], account).judgement.dangerous).toBe(true);
  });

  test('TLSA: one match is enough, none is dangerous', () => {
    const ours = `3 1 1 ${'ab'.repeat(32)}`;
    const other = `3 1 1 ${'cd'.repeat(32)}`;
    expect(verdict('tlsa', 'TLSA', [ours, other]).state).toBe('fine');
    expect(verdict('tlsa', 'TLSA', [other]).judgement.dangerous).toBe(true);
  });

  test('SRV: priority and weight of a lone one mean nothing, port and host do', () => {
    expect(verdict('service', 'SRV', ['5 5 587 chat.example.org']).state).toBe('fine');
    expect(verdict('service', 'SRV', ['0 1 588 chat.example.org']).state).toBe('wrong');
    expect(verdict('service', 'SRV', ['0 1 587 mail.example.net']).state).toBe('wrong');
  });
});
