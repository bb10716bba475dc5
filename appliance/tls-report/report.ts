/** A report about a day's SMTP sessions with one domain (RFC 8460 §4), and the mail that carries it (§5.3). */
import { gzipSync } from 'node:zlib';

export interface SessionFailure {
  /** §4.3. */
  readonly resultType: string;
  readonly receivingHost: string;
  readonly receivingIp: string;
  readonly sendingIp: string;
  count: number;
}

/** What was seen under one policy. */
export interface PolicyCounts {
  /** TLSA records in presentation form; none where no policy was found. */
  readonly tlsa: readonly string[];
  readonly hosts: string[];
  successes: number;
  readonly failures: SessionFailure[];
}

export interface DomainCounts {
  /** The domain written to. */
  readonly domain: string;
  /** UTC, `2026-11-21`. */
  readonly day: string;
  readonly policies: PolicyCounts[];
}

export interface Reporter {
  /** Our own domain. */
  readonly domain: string;
  /** A mail address, for questions. */
  readonly contact: string;
}

/** The JSON document, as a value. */
export function buildReport(counts: DomainCounts, { domain, contact }: Reporter): object {
  return {
    'organization-name': domain,
    'date-range': {
      'start-datetime': `${counts.day}T00:00:00Z`,
      'end-datetime': `${counts.day}T23:59:59Z`,
    },
    'contact-info': contact,
    'report-id': reportId(counts, domain),
    policies: counts.policies.map((policy) => ({
      policy: {
        'policy-type': policy.tlsa.length > 0 ? 'tlsa' : 'no-policy-found',
        ...(policy.tlsa.length > 0 ? { 'policy-string': policy.tlsa } : {}),
        'policy-domain': counts.domain,
        'mx-host': policy.hosts,
      },
      summary: {
        'total-successful-session-count': policy.successes,
        'total-failure-session-count': policy.failures.reduce((sum, { count }) => sum + count, 0),
      },
      ...(policy.failures.length === 0
        ? {}
        : {
            'failure-details': policy.failures.map((failure) => ({
              'result-type': failure.resultType,
              'sending-mta-ip': failure.sendingIp,
              'receiving-mx-hostname': failure.receivingHost,
              'receiving-ip': failure.receivingIp,
              'failed-session-count': failure.count,
            })),
          }),
    })),
  };
}

/** The same for each try, so that a receiver knows a second copy. */
function reportId({ day, domain }: DomainCounts, ours: string): string {
  return `${day}T00:00:00Z_${domain}@${ours}`;
}

export function encodeReport(report: object): Buffer {
  return gzipSync(JSON.stringify(report));
}

/** §5.1: submitter ! policy domain ! begin ! end ! extension, times in seconds. */
export function reportFilename({ domain, day }: DomainCounts, ours: string): string {
  const begin = Date.parse(`${day}T00:00:00Z`) / 1000;
  return `${ours}!${domain}!${begin}!${begin + 86_399}!001.json.gz`;
}

export interface ReportMail {
  readonly headers: readonly { readonly name: string; readonly value: string }[];
  readonly body: Buffer;
}

/** @param to a mail address that was checked */
export function buildReportMail(
  counts: DomainCounts,
  { reporter, to, nowMs }: { readonly reporter: Reporter; readonly to: string; readonly nowMs: number },
): ReportMail {
  const { domain } = reporter;
  const gzip = encodeReport(buildReport(counts, reporter));
  const id = reportId(counts, domain);
  const boundary = `tlsrpt_${Buffer.from(id).toString('hex').slice(-32)}`;
  const date = new Date(nowMs).toUTCString().replace('GMT', '+0000');
  const fields: [string, string][] = [
    ['From', reportSender(domain)],
    ['To', to],
    ['Subject', `Report Domain: ${counts.domain}\r\n Submitter: ${domain}\r\n Report-ID: <${id}>`],
    ['Date', date],
    ['Message-ID', `<tlsrpt.${counts.day}.${counts.domain}@${domain}>`],
    ['TLS-Report-Domain', counts.domain],
    ['TLS-Report-Submitter', domain],
    ['Auto-Submitted', 'auto-generated'],
    ['MIME-Version', '1.0'],
    ['Content-Type', `multipart/report; report-type="tlsrpt";\r\n boundary="${boundary}"`],
  ];
  const lines = [
    `--${boundary}`,
    'Content-Type: text/plain; charset=us-ascii',
    '',
    `TLS sessions of ${domain} with the mail servers of ${counts.domain} on ${counts.day} (UTC).`,
    `--${boundary}`,
    'Content-Type: application/tlsrpt+gzip',
    'Content-Transfer-Encoding: base64',
    `Content-Disposition: attachment;\r\n filename="${reportFilename(counts, domain)}"`,
    '',
    ...(gzip.toString('base64').match(/.{1,76}/g) ?? []),
    `--${boundary}--`,
    '',
  ];
  return {
    headers: fields.map(([name, value]) => ({ name, value: ` ${value}` })),
    body: Buffer.from(lines.join('\r\n')),
  };
}

/** Nobody reads it; bounces go nowhere. */
export function reportSender(domain: string): string {
  return `noreply-smtp-tls-reporting@${domain}`;
}
