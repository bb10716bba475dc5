/**
 * The DNS records a relay wants, from its domain, addresses and keys. Pure. The forms are those that
 * chatmail/relay publishes and its own check compares as strings (facts/chatmail.md part 2); TLSRPT, TLSA
 * and the autoconfig name are ours on top.
 *
 * Names are absolute, lower-case ASCII, without the final dot. Values are RDATA in presentation form
 * (RFC 1035 §5.1), host names in them absolute with the final dot.
 */
import { createHash } from 'node:crypto';
import { isPublicDomain } from './certificate.ts';
import type { Domain } from './domain.ts';

/** All records of one type at one name (RFC 9499 §4). Values are a set: their order means nothing. */
export interface RecordSet {
  readonly name: string;
  readonly type: string;
  readonly ttlSec: number;
  readonly values: readonly string[];
}

/** Says how a record is compared by meaning, and where in the order of publishing it stands. */
export type RecordPurpose =
  | 'address'
  | 'mx'
  | 'spf'
  | 'dkim'
  | 'dmarc'
  | 'adsp'
  | 'mta-sts'
  | 'tls-report'
  | 'caa'
  | 'tlsa'
  | 'service'
  | 'alias';

export interface WantedRecord extends RecordSet {
  readonly purpose: RecordPurpose;
  /** Without a required record mail or sign-in fails somewhere; a recommended one makes it safer or easier. */
  readonly level: 'required' | 'recommended';
  /** Half a line for people. */
  readonly why: string;
}

/** A public key as its TXT record carries it: RSA as SubjectPublicKeyInfo, Ed25519 as the bare 32 bytes. */
export interface DkimPublicKey {
  readonly selector: string;
  readonly algorithm: 'rsa' | 'ed25519';
  readonly publicKeyBase64: string;
}

export interface RelayDnsInput {
  readonly domain: Domain;
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
  readonly dkimKeys: readonly DkimPublicKey[];
  /** The ACME account's URL, once there is one: then nobody else's account may get a certificate. */
  readonly acmeAccountUri?: string | undefined;
  /** Where other servers send TLS failure reports: a mailto: or https: URI (RFC 8460 §3). */
  readonly tlsReportUri?: string | undefined;
  /** SHA-256 of the SubjectPublicKeyInfo on port 25, in hex. Give it only where the zone is signed. */
  readonly tlsaSpkiSha256?: readonly string[] | undefined;
  /** Adds autoconfig.<domain>; only right when the certificate carries that name too. */
  readonly autoconfigName?: boolean | undefined;
  /** The relay itself keeps its addresses current: resolvers shall not remember old ones for long. */
  readonly addressesChange?: boolean | undefined;
}

/** chatmail/relay's selector, so that a relay can move between the two. */
export const dkimSelector = 'opendkim';
/** RFC 8463 §3 asks for a selector of its own, or old verifiers stumble over a key they can't read. */
export const dkimEd25519Selector = 'opendkim-ed25519';

const recordTtlSec = 3600;
/** Of addresses that change: how long mail and clients go astray after that, at most. */
export const changingAddressTtlSec = 300;
const certificateAuthority = 'letsencrypt.org';
const mtaStsMaxAgeSec = 2_419_200;

/** RFC 1035 §3.3.14: a TXT record is a series of strings of up to 255 bytes. */
const maxTxtStringBytes = 255;

/** Text as TXT RDATA in presentation form, split where it must be. Non-ASCII bytes become \DDD. */
export function txtValue(text: string): string {
  const bytes = Buffer.from(text, 'utf8');
  const parts: string[] = [];
  for (let start = 0; start === 0 || start < bytes.length; start += maxTxtStringBytes) {
    parts.push(`"${escapeTxt(bytes.subarray(start, start + maxTxtStringBytes))}"`);
  }
  return parts.join(' ');
}

/** The inside of a quoted character-string (RFC 1035 §5.1). */
export function escapeTxt(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) {
    if (byte === 0x22 || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`;
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\${String(byte).padStart(3, '0')}`;
  }
  return text;
}

/** The policy file at https://mta-sts.<domain>/.well-known/mta-sts.txt (RFC 8461 §3.2). */
export function mtaStsPolicy(domainName: string): string {
  return `version: STSv1\r\nmode: enforce\r\nmx: ${domainName}\r\nmax_age: ${mtaStsMaxAgeSec}\r\n`;
}

/**
 * The id beside `_mta-sts`: senders fetch the policy again when it changes (RFC 8461 §3.1, 1–32 letters and
 * digits). Made from the policy, so it changes exactly when the policy does.
 */
export function mtaStsPolicyId(policy: string): string {
  return createHash('sha256').update(policy).digest('hex').slice(0, 20);
}

/** What the key's TXT record says, as one text (RFC 6376 §3.6.1). */
function dkimRecordText(key: DkimPublicKey): string {
  return `v=DKIM1;k=${key.algorithm};p=${key.publicKeyBase64};s=email;t=s`;
}

/**
 * Every record set the relay wants, in the order of a zone file. Empty for an IP-literal relay: its users
 * are at user@[192.0.2.1], and nobody looks anything up (`noRecordsReason` says so to people).
 */
export function wantedRecords(input: RelayDnsInput): readonly WantedRecord[] {
  if (input.domain.kind === 'ip') return [];
  const { name } = input.domain;
  const host = `${name}.`;
  const vouched = isPublicDomain(input.domain);
  const records: WantedRecord[] = [];
  const add = (
    level: WantedRecord['level'],
    purpose: RecordPurpose,
    owner: string,
    type: string,
    values: readonly string[],
    why: string,
  ) => {
    if (values.length === 0) return;
    const at = owner === '' ? name : `${owner}.${name}`;
    const changes = purpose === 'address' && input.addressesChange === true;
    const ttlSec = changes ? changingAddressTtlSec : recordTtlSec;
    records.push({ name: at, type, ttlSec, values, purpose, level, why });
  };

  add('required', 'address', '', 'A', input.ipv4, 'where the relay is, over IPv4');
  add('required', 'address', '', 'AAAA', input.ipv6, 'where the relay is, over IPv6');
  add('required', 'mx', '', 'MX', [`10 ${host}`], 'other servers bring mail here');
  for (const key of input.dkimKeys) {
    const why =
      key.algorithm === 'rsa'
        ? 'the key other relays check every message with; without it they refuse all mail'
        : 'a second, shorter key for servers that know Ed25519';
    const level = key.algorithm === 'rsa' ? 'required' : 'recommended';
    add(level, 'dkim', `${key.selector}._domainkey`, 'TXT', [txtValue(dkimRecordText(key))], why);
  }
  if (vouched) {
    const id = mtaStsPolicyId(mtaStsPolicy(name));
    add('required', 'alias', 'mta-sts', 'CNAME', [host], 'the host that serves the MTA-STS policy');
    const sts = txtValue(`v=STSv1; id=${id}`);
    add('required', 'mta-sts', '_mta-sts', 'TXT', [sts], 'tells senders to insist on TLS (MTA-STS)');
  }
  add('required', 'alias', 'www', 'CNAME', [host], 'the web page for people who type www');

  add('recommended', 'spf', '', 'TXT', [txtValue('v=spf1 a ~all')], 'only the relay itself sends its mail');
  const dmarc = txtValue('v=DMARC1;p=reject;adkim=s;aspf=s');
  add('recommended', 'dmarc', '_dmarc', 'TXT', [dmarc], 'mail that fails DKIM and SPF is forged: refuse it');
  if (vouched) {
    const account = input.acmeAccountUri;
    const issuer = `${certificateAuthority}${account === undefined ? '' : `;accounturi=${account}`}`;
    const why = account === undefined ? 'only this authority may' : "only the relay's own account may";
    add('recommended', 'caa', '', 'CAA', [`0 issue "${issuer}"`], `${why} issue certificates`);
  }
  const adsp = txtValue('dkim=discardable');
  add(
    'recommended',
    'adsp',
    '_adsp._domainkey',
    'TXT',
    [adsp],
    'the older form of DMARC, still read by some',
  );
  for (const [service, port] of mailServices) {
    const why = `lets mail programs find ${service} by themselves`;
    add('recommended', 'service', `_${service}._tcp`, 'SRV', [`0 1 ${port} ${host}`], why);
  }
  if (input.autoconfigName === true && vouched) {
    add('recommended', 'alias', 'autoconfig', 'CNAME', [host], 'where Thunderbird asks for settings first');
  }
  if (input.tlsReportUri !== undefined) {
    const report = txtValue(`v=TLSRPTv1;rua=${input.tlsReportUri}`);
    add('recommended', 'tls-report', '_smtp._tls', 'TXT', [report], 'where others report TLS failures to');
  }
  const tlsa = (input.tlsaSpkiSha256 ?? []).map((digest) => `3 1 1 ${digest.toLowerCase()}`);
  add('recommended', 'tlsa', '_25._tcp', 'TLSA', tlsa, 'pins the mail certificate (DANE); needs DNSSEC');
  return records;
}

/** RFC 6186 §3 and RFC 8314 §5.1, with the ports of contract/ports.ts. */
const mailServices = [
  ['submission', 587],
  ['submissions', 465],
  ['imap', 143],
  ['imaps', 993],
] as const;

/** Why `domain` wants no records, or null when it does want some. */
export function noRecordsReason(domain: Domain): string | null {
  if (domain.kind === 'name') return null;
  return `A relay at the address ${domain.address} needs no DNS records: its users are at the address itself`;
}
