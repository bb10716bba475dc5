/**
 * DANE for SMTP (RFC 7672, RFC 6698, RFC 7671): a zone signed with DNSSEC says which certificate its mail
 * server has, and no authority is asked. Usages 2 (a trust anchor the server sends along) and 3 (the
 * server's own key or certificate); 0 and 1 mean nothing for SMTP (RFC 7672 §3.1.3).
 */
import { createHash, type X509Certificate } from 'node:crypto';

export interface TlsaRecord {
  readonly usage: 2 | 3;
  /** 0: the whole certificate, 1: its public key. */
  readonly selector: 0 | 1;
  /** 0: as it is, 1: SHA-256, 2: SHA-512. */
  readonly matching: 0 | 1 | 2;
  readonly data: Buffer;
}

const digestBytes = { 1: 32, 2: 64 } as const;

/** The records that mean something here; malformed ones and unknown parameters are passed over. */
export function usableRecords(values: readonly string[]): TlsaRecord[] {
  return values.flatMap((value) => {
    const [usage, selector, matching, hex] = value.split(' ');
    const data = Buffer.from(hex ?? '', 'hex');
    if (usage !== '2' && usage !== '3') return [];
    if (selector !== '0' && selector !== '1') return [];
    if (matching !== '0' && matching !== '1' && matching !== '2') return [];
    if (data.length === 0 || data.length * 2 !== (hex ?? '').length) return [];
    const record = {
      usage: Number(usage) as TlsaRecord['usage'],
      selector: Number(selector) as TlsaRecord['selector'],
      matching: Number(matching) as TlsaRecord['matching'],
      data,
    };
    if (record.matching !== 0 && data.length !== digestBytes[record.matching]) return [];
    return [record];
  });
}

/** RFC 6698 §2.1: whether a record speaks of this certificate. */
export function matches({ selector, matching, data }: TlsaRecord, certificate: X509Certificate): boolean {
  const subject =
    selector === 0 ? certificate.raw : certificate.publicKey.export({ type: 'spki', format: 'der' });
  if (matching === 0) return data.equals(subject);
  return data.equals(
    createHash(matching === 1 ? 'sha256' : 'sha512')
      .update(subject)
      .digest(),
  );
}

export interface DanePeer {
  /** What the server sent, its own certificate first. */
  readonly chain: readonly X509Certificate[];
  /** Names that count: the TLSA base domain and the mail domain (RFC 7672 §3.2.2). */
  readonly names: readonly string[];
  readonly nowMs: number;
}

/** Why the peer is none of those the records name; null when it is one. */
export function judgeDane(records: readonly TlsaRecord[], { chain, names, nowMs }: DanePeer): string | null {
  const [leaf] = chain;
  if (leaf === undefined) return 'The server sent no certificate';
  // RFC 7672 §3.1.1: with usage 3 neither names nor dates count.
  if (records.some((record) => record.usage === 3 && matches(record, leaf))) return null;
  const anchors = records.filter(({ usage }) => usage === 2);
  const path = pathTo(chain, (certificate) => anchors.some((record) => matches(record, certificate)));
  if (path === null) return 'The certificate is none of those in the TLSA records';
  const stale = path.find(
    ({ validFromDate, validToDate }) => nowMs < validFromDate.getTime() || nowMs > validToDate.getTime(),
  );
  if (stale !== undefined) return 'A certificate below the trust anchor has run out';
  if (!names.some((name) => leaf.checkHost(name) !== undefined)) {
    return `The certificate does not name ${names.join(' or ')}`;
  }
  return null;
}

/** From the leaf up to the first certificate that is an anchor, each signed by the next; null when none is. */
function pathTo(
  chain: readonly X509Certificate[],
  isAnchor: (certificate: X509Certificate) => boolean,
): readonly X509Certificate[] | null {
  const [leaf, ...others] = chain;
  if (leaf === undefined) return null;
  const path = [leaf];
  const left = [...others];
  for (let current = leaf; ;) {
    // An anchor may be the leaf itself, where it signs for itself (RFC 7671 §5.2).
    if (isAnchor(current)) return path;
    const index = left.findIndex(
      (candidate) => candidate.ca && current.checkIssued(candidate) && current.verify(candidate.publicKey),
    );
    const [issuer] = index < 0 ? [] : left.splice(index, 1);
    if (issuer === undefined) return null;
    path.push(issuer);
    current = issuer;
  }
}
