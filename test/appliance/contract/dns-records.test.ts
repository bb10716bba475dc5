import { describe, expect, test } from 'vitest';
import { parseDomain } from '../../../appliance/contract/domain.ts';
import {
  mtaStsPolicy,
  mtaStsPolicyId,
  noRecordsReason,
  txtValue,
  wantedRecords,
} from '../../../appliance/contract/dns-records.ts';
import { zoneFile } from '../../../appliance/dns/zone-text.ts';
import { txtText } from '../../../appliance/dns/presentation.ts';
import { canonicalValue } from '../../../appliance/dns/rdata.ts';

const rsa = { selector: 'opendkim', algorithm: 'rsa', publicKeyBase64: 'A'.repeat(392) } as const;
const ed25519 = {
  selector: 'opendkim-ed25519',
  algorithm: 'ed25519',
  publicKeyBase64: 'B'.repeat(44),
} as const;
const input = {
  domain: parseDomain('chat.example.org'),
  ipv4: ['198.51.100.5'],
  ipv6: ['2001:db8::5'],
  dkimKeys: [rsa],
};

describe('wantedRecords', () => {
  test('are those of chatmail/relay, letter by letter', () => {
    const records = wantedRecords({
      ...input,
      acmeAccountUri: 'https://acme-v02.api.letsencrypt.org/acme/acct/NNN',
    });
    const lines = records.flatMap(({ name, type, values, level }) =>
      values.map((value) => `${level} ${name} ${type} ${type === 'TXT' ? txtText(value) : value}`),
    );
    const id = mtaStsPolicyId(mtaStsPolicy('chat.example.org'));
    expect(lines).toEqual([
      'required chat.example.org A 198.51.100.5',
      'required chat.example.org AAAA 2001:db8::5',
      'required chat.example.org MX 10 chat.example.org.',
      `required opendkim._domainkey.chat.example.org TXT v=DKIM1;k=rsa;p=${'A'.repeat(392)};s=email;t=s`,
      'required mta-sts.chat.example.org CNAME chat.example.org.',
      `required _mta-sts.chat.example.org TXT v=STSv1; id=${id}`,
      'required www.chat.example.org CNAME chat.example.org.',
      'recommended chat.example.org TXT v=spf1 a ~all',
      'recommended _dmarc.chat.example.org TXT v=DMARC1;p=reject;adkim=s;aspf=s',
      'recommended chat.example.org CAA 0 issue "letsencrypt.org;accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/NNN"',
      'recommended _adsp._domainkey.chat.example.org TXT dkim=discardable',
      'recommended _submission._tcp.chat.example.org SRV 0 1 587 chat.example.org.',
      'recommended _submissions._tcp.chat.example.org SRV 0 1 465 chat.example.org.',
      'recommended _imap._tcp.chat.example.org SRV 0 1 143 chat.example.org.',
      'recommended _imaps._tcp.chat.example.org SRV 0 1 993 chat.example.org.',
    ]);
  });

  test('are canonical, so that they compare with what servers answer', () => {
    const all = wantedRecords({
      ...input,
      dkimKeys: [rsa, ed25519],
      tlsReportUri: 'mailto:postmaster@example.net',
      tlsaSpkiSha256: ['AB'.repeat(32)],
      autoconfigName: true,
    });
    for (const { type, values } of all) {
      expect(values).toEqual(values.map((value) => canonicalValue(type, value)));
    }
    expect(all.map(({ name, type }) => `${name} ${type}`)).toHaveLength(
      new Set(all.map(({ name, type }) => `${name} ${type}`)).size,
    );
    expect(all.at(-1)?.values).toEqual([`3 1 1 ${'ab'.repeat(32)}`]);
  });

  test('an address is in the records only when it is given', () => {
    const types = wantedRecords({ ...input, ipv6: [] }).map(({ type }) => type);
    expect(types).toContain('A');
    expect(types).not.toContain('AAAA');
  });

  test('a name that nobody vouches for has no CAA and no MTA-STS', () => {
    const records = wantedRecords({ ...input, domain: parseDomain('_chat.example.org') });
    expect(records.map(({ purpose }) => purpose)).not.toContain('caa');
    expect(records.map(({ purpose }) => purpose)).not.toContain('mta-sts');
    expect(records.map(({ name }) => name)).not.toContain('mta-sts._chat.example.org');
  });

  test('an IP-literal relay wants none, and says so', () => {
    for (const text of ['192.0.2.1', '2001:db8::1']) {
      expect(wantedRecords({ ...input, domain: parseDomain(text) })).toEqual([]);
      expect(noRecordsReason(parseDomain(text))).toContain('needs no DNS records');
    }
    expect(noRecordsReason(input.domain)).toBeNull();
  });
});

describe('txtValue', () => {
  test('splits at 255 bytes, and escapes what would end the string', () => {
    expect(txtValue('')).toBe('""');
    expect(txtValue('a"b\\c')).toBe('"a\\"b\\\\c"');
    expect(txtValue('ü')).toBe('"\\195\\188"');
    expect(txtValue('x'.repeat(256))).toBe(`"${'x'.repeat(255)}" "x"`);
  });
});

describe('mtaStsPolicyId', () => {
  test('is 1 to 32 letters and digits, and changes with the policy', () => {
    const one = mtaStsPolicyId(mtaStsPolicy('chat.example.org'));
    expect(one).toMatch(/^[a-z0-9]{1,32}$/);
    expect(mtaStsPolicyId(mtaStsPolicy('other.example.org'))).not.toBe(one);
    expect(mtaStsPolicyId(mtaStsPolicy('chat.example.org'))).toBe(one);
  });
});

describe('zoneFile', () => {
  test('has a reason before each record', () => {
    const lines = zoneFile('chat.example.org', wantedRecords(input)).trimEnd().split('\n');
    const records = lines.filter((line) => line !== '' && !line.startsWith(';'));
    for (const line of records) expect(lines[lines.indexOf(line) - 1]).toMatch(/^; \S/);
    expect(records).toHaveLength(15);
  });
});
