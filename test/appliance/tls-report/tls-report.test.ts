import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
import { openSessionCounter, type TlsSession } from '../../../appliance/tls-report/counter.ts';
import { parseReportPolicy } from '../../../appliance/tls-report/policy.ts';
import {
  buildReport,
  buildReportMail,
  type DomainCounts,
  reportFilename,
  type ReportMail,
} from '../../../appliance/tls-report/report.ts';
import { createTlsReporter, type TlsReporterOptions } from '../../../appliance/tls-report/reporter.ts';

const day = '2026-11-20';
const dayMs = 24 * 3600_000;
const reporter = { domain: 'chat.example.org', contact: 'postmaster@chat.example.org' };
const failed: TlsSession = {
  domain: 'other.example',
  host: 'mx1.other.example',
  tlsa: [],
  result: 'certificate-expired',
  sendingIp: '192.0.2.1',
  receivingIp: '198.51.100.7',
};
const succeeded: TlsSession = { ...failed, result: 'success' };
const withDane: TlsSession = { ...succeeded, host: 'mx2.other.example', tlsa: ['3 1 1 00ff'] };

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tls-report-'));
  path = join(directory, 'tls-reports.json');
});
afterEach(() => rm(directory, { recursive: true }));

/** Counts of one day with other.example. */
async function sample(): Promise<DomainCounts> {
  const counter = await openSessionCounter(path);
  for (const session of [failed, failed, succeeded, withDane]) counter.count(session, day);
  const [counts] = counter.finished('2026-11-21');
  if (counts === undefined) throw new Error('Nothing counted');
  return counts;
}

describe('parseReportPolicy', () => {
  test.each([
    ['v=TLSRPTv1;rua=mailto:reports@example.com', [{ kind: 'mailto', address: 'reports@example.com' }]],
    [
      'v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt, mailto:a@b.example;',
      [
        { kind: 'https', url: 'https://reporting.example.com/v1/tlsrpt' },
        { kind: 'mailto', address: 'a@b.example' },
      ],
    ],
    ['v=TLSRPTv1;rua=mailto:a%21b@c.example', [{ kind: 'mailto', address: 'a!b@c.example' }]],
    ['v=TLSRPTv1;rua=http://a.example/', null],
    ['v=TLSRPTv1;rua=mailto:nobody', null],
    ['v=TLSRPTv1;rua=mailto:a@b.example%0d%0aBcc:x@y.example', null],
    ['v=TLSRPTv1;rua=https://user:word@a.example/', null],
    ['v=TLSRPTv1;rua=https://127.0.0.1:10025/', null],
    ['v=TLSRPTv1;rua=https://2130706433/', null],
    ['v=TLSRPTv1;rua=https://[::ffff:127.0.0.1]/', null],
    ['v=TLSRPTv1', null],
    ['v=spf1 -all', null],
  ])('%s', (record, expected) => {
    expect(parseReportPolicy([record])).toEqual(expected);
  });

  test('two records are none, and others beside one do not matter', () => {
    const record = 'v=TLSRPTv1;rua=mailto:a@b.example';
    expect(parseReportPolicy([record, record])).toBeNull();
    expect(parseReportPolicy(['something else', record])).toHaveLength(1);
  });
});

describe('buildReport', () => {
  test('is the document of RFC 8460 §4.4', async () => {
    expect(buildReport(await sample(), reporter)).toEqual({
      'organization-name': 'chat.example.org',
      'date-range': { 'start-datetime': '2026-11-20T00:00:00Z', 'end-datetime': '2026-11-20T23:59:59Z' },
      'contact-info': 'postmaster@chat.example.org',
      'report-id': '2026-11-20T00:00:00Z_other.example@chat.example.org',
      policies: [
        {
          policy: {
            'policy-type': 'no-policy-found',
            'policy-domain': 'other.example',
            'mx-host': ['mx1.other.example'],
          },
          summary: { 'total-successful-session-count': 1, 'total-failure-session-count': 2 },
          'failure-details': [
            {
              'result-type': 'certificate-expired',
              'sending-mta-ip': '192.0.2.1',
              'receiving-mx-hostname': 'mx1.other.example',
              'receiving-ip': '198.51.100.7',
              'failed-session-count': 2,
            },
          ],
        },
        {
          policy: {
            'policy-type': 'tlsa',
            'policy-string': ['3 1 1 00ff'],
            'policy-domain': 'other.example',
            'mx-host': ['mx2.other.example'],
          },
          summary: { 'total-successful-session-count': 1, 'total-failure-session-count': 0 },
        },
      ],
    });
  });

  test('travels as RFC 8460 §5.3 says', async () => {
    const counts = await sample();
    const { headers, body } = buildReportMail(counts, {
      reporter,
      to: 'reports@other.example',
      nowMs: Date.UTC(2026, 10, 21, 1),
    });
    const value = (name: string) => headers.find((field) => field.name === name)?.value.trim();
    expect(value('Subject')).toBe(
      'Report Domain: other.example\r\n Submitter: chat.example.org\r\n Report-ID: <2026-11-20T00:00:00Z_other.example@chat.example.org>',
    );
    expect(value('Content-Type')).toContain('multipart/report; report-type="tlsrpt"');
    expect(value('TLS-Report-Domain')).toBe('other.example');
    expect(value('TLS-Report-Submitter')).toBe('chat.example.org');
    expect(value('Date')).toBe('Sat, 21 Nov 2026 01:00:00 +0000');
    const boundary = /boundary="(.*)"/.exec(value('Content-Type') ?? '')?.[1] ?? '';
    const [, text = '', attachment = ''] = body.toString().split(`--${boundary}`);
    expect(text).toContain('text/plain');
    expect(attachment).toContain('Content-Type: application/tlsrpt+gzip');
    expect(attachment).toContain(
      'filename="chat.example.org!other.example!1795132800!1795219199!001.json.gz"',
    );
    const gzip = Buffer.from(attachment.split('\r\n\r\n')[1] ?? '', 'base64');
    expect(JSON.parse(gunzipSync(gzip).toString())).toEqual(buildReport(counts, reporter));
    expect(body.toString()).not.toMatch(/[^\r]\n/);
  });

  test('has a file name that tells domain and day', async () => {
    expect(reportFilename(await sample(), 'chat.example.org')).toBe(
      'chat.example.org!other.example!1795132800!1795219199!001.json.gz',
    );
  });
});

describe('openSessionCounter', () => {
  test('keeps what was counted through a restart', async () => {
    const first = await openSessionCounter(path);
    first.count(failed, day);
    await first.save();
    const second = await openSessionCounter(path);
    second.count(failed, day);
    expect(second.finished(day)).toEqual([]);
    expect(second.finished('2026-11-21')[0]?.policies[0]?.failures[0]?.count).toBe(2);
  });

  test('starts anew on a file that is broken', async () => {
    await writeFile(path, '[{"domain": 1}]');
    expect((await openSessionCounter(path)).finished('2027-01-01')).toEqual([]);
  });

  test('is bounded, whatever comes', async () => {
    const counter = await openSessionCounter(path);
    for (let index = 0; index < 2000; index++) {
      counter.count({ ...failed, domain: `d${index}.example` }, day);
      counter.count({ ...failed, receivingIp: String(index), tlsa: [String(index % 20)] }, day);
    }
    const all = counter.finished('2027-01-01');
    expect(all.length).toBeLessThanOrEqual(500);
    expect(JSON.stringify(all).length).toBeLessThan(500_000);
  });

  test('is bounded, however long the records of others are', async () => {
    const counter = await openSessionCounter(path);
    const tlsa = Array.from({ length: 100 }, () => `3 1 0 ${'0f'.repeat(300)}`);
    for (let index = 0; index < 100; index++) {
      counter.count({ ...withDane, domain: `d${index}.example`, tlsa: [String(index), ...tlsa] }, day);
    }
    const all = counter.finished('2027-01-01');
    expect(JSON.stringify(all).length).toBeLessThan(1_100_000);
    for (const counts of all) counter.remove(counts);
    counter.count(failed, day);
    expect(counter.finished('2027-01-01')).toHaveLength(1);
  });
});

describe('createTlsReporter', () => {
  interface World {
    readonly mails: [string, ReportMail][];
    readonly posts: [string, object][];
    nowMs: number;
    /** Lets so many hours pass. */
    pass(hours: number): Promise<void>;
    record(session: TlsSession): Promise<void>;
  }

  async function world(overrides: Partial<TlsReporterOptions>): Promise<World & AsyncDisposable> {
    const stop = new AbortController();
    let wake: (() => void) | undefined;
    let asleep = Promise.withResolvers<void>();
    const state = { nowMs: Date.UTC(2026, 10, 20, 12) };
    const mails: [string, ReportMail][] = [];
    const posts: [string, object][] = [];
    const one = createTlsReporter({
      counter: await openSessionCounter(path),
      reporter: () => reporter,
      resolveTxt: async (name) =>
        name === '_smtp._tls.other.example' ? ['v=TLSRPTv1;rua=mailto:r@other.example'] : [],
      post: async (url, gzip) => {
        posts.push([url, JSON.parse(gunzipSync(gzip).toString())]);
        return 200;
      },
      mail: async (mail, to) => {
        mails.push([to, mail]);
        return 250;
      },
      clock: {
        wallMs: () => state.nowMs,
        monotonicMs: () => state.nowMs,
        sleep: (ms, signal) =>
          new Promise((resolve, reject) => {
            signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
            wake = () => {
              state.nowMs += ms;
              resolve();
            };
            asleep.resolve();
          }),
      },
      random: () => 0.5,
      log: silentLog,
      ...overrides,
    });
    const running = one.run(stop.signal);
    return {
      mails,
      posts,
      get nowMs() {
        return state.nowMs;
      },
      set nowMs(value) {
        state.nowMs = value;
      },
      async pass(hours) {
        for (let hour = 0; hour < hours; hour++) {
          await asleep.promise;
          asleep = Promise.withResolvers<void>();
          wake?.();
        }
        await asleep.promise;
      },
      async record(session) {
        one.record(session);
        // The lookup of the policy.
        await new Promise((resolve) => setImmediate(resolve));
      },
      async [Symbol.asyncDispose]() {
        stop.abort();
        await running;
      },
    };
  }

  test('tells a domain once, after the day is over', async () => {
    await using here = await world({});
    await here.record(failed);
    await here.pass(5);
    expect(here.mails).toEqual([]);
    await here.pass(24);
    expect(here.mails.map(([to]) => to)).toEqual(['r@other.example']);
    expect(here.posts).toEqual([]);
  });

  test('keeps nothing of domains that do not ask', async () => {
    await using here = await world({});
    await here.record({ ...failed, domain: 'quiet.example' });
    await here.record({ ...failed, domain: '[192.0.2.1]' });
    await here.pass(30);
    expect((await openSessionCounter(path)).finished('2027-01-01')).toEqual([]);
    expect(here.mails).toEqual([]);
  });

  test('posts where that is wanted, and tries again where nobody answers', async () => {
    let tries = 0;
    await using here = await world({
      resolveTxt: async () => ['v=TLSRPTv1;rua=https://reports.example/'],
      post: async () => (++tries < 3 ? 503 : 201),
    });
    await here.record(succeeded);
    await here.pass(30);
    expect(tries).toBe(3);
  });

  test.each([
    ['refuses for good', { mail: async () => 550 }, 1],
    ['never takes it', { mail: async () => 451 }, 49],
  ])('gives up where the receiver %s', async (_, { mail }, most) => {
    let tries = 0;
    await using here = await world({
      mail: () => {
        tries++;
        return mail();
      },
    });
    await here.record(succeeded);
    await here.pass(100);
    expect(tries).toBeGreaterThan(0);
    expect(tries).toBeLessThanOrEqual(most);
    expect((await openSessionCounter(path)).finished('2027-01-01')).toEqual([]);
  });

  test('writes to one mailbox so often a day and no more, whoever names it', async () => {
    await using here = await world({
      resolveTxt: async () => ['v=TLSRPTv1;rua=mailto:victim@third.example'],
    });
    for (let index = 0; index < 200; index++) await here.record({ ...failed, domain: `d${index}.example` });
    await here.pass(30);
    expect(here.mails).toHaveLength(50);
    expect((await openSessionCounter(path)).finished('2027-01-01')).toEqual([]);
  });

  test('says nothing where it has no name to say it in', async () => {
    await using here = await world({ reporter: () => null });
    await here.record(failed);
    here.nowMs += dayMs;
    await here.pass(3);
    expect(here.mails).toEqual([]);
  });
});
