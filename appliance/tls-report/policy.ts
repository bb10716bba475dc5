/** Where a domain wants reports about TLS sent to: its TXT record at `_smtp._tls` (RFC 8460 §3). */
import { isIP } from 'node:net';

export type ReportTarget =
  | { readonly kind: 'https'; readonly url: string }
  | { readonly kind: 'mailto'; readonly address: string };

/** More than anybody needs; each is a message a day. */
const maxTargets = 4;
const maxRecordChars = 2048;

const localpart = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}$/;

/** @param records the strings of each TXT record joined; null when the domain wants no reports */
export function parseReportPolicy(records: readonly string[]): readonly ReportTarget[] | null {
  // RFC 8460 §3: other records do not count, and of two that do neither does.
  const ours = records.filter((text) => /^v=TLSRPTv1\s*;/.test(text) && text.length <= maxRecordChars);
  const [record] = ours;
  if (record === undefined || ours.length > 1) return null;
  const fields = record.split(';').map((field) => field.trim());
  const list = fields.find((field) => field.startsWith('rua='))?.slice('rua='.length) ?? '';
  const targets = list
    .split(',')
    .flatMap((uri) => parseTarget(uri.trim()))
    .slice(0, maxTargets);
  return targets.length === 0 ? null : targets;
}

function parseTarget(uri: string): ReportTarget[] {
  if (/^mailto:/i.test(uri)) {
    const address = decode(uri.slice('mailto:'.length).replace(/\?.*$/, ''));
    const at = address.lastIndexOf('@');
    const isAddress =
      localpart.test(address.slice(0, Math.max(0, at))) && /^[A-Za-z0-9.-]+$/.test(address.slice(at + 1));
    return isAddress ? [{ kind: 'mailto', address }] : [];
  }
  const url = URL.parse(uri);
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '') return [];
  // Connecting to an address asks no resolver, so nothing would keep it from leading to this machine.
  if (isIP(url.hostname.replace(/^\[|\]$/g, '')) !== 0) return [];
  return [{ kind: 'https', url: url.href }];
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return '';
  }
}
