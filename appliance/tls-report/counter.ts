/**
 * Counts TLS sessions by domain and UTC day, for the domains that ask to be told. Of the others nothing is
 * kept: whom people write to is not for a file. Kept in one small file, written now and then.
 */
import * as v from 'valibot';
import { readTextIfPresent, writeFileAtomic } from '../base/atomic-file.ts';
import type { DomainCounts, PolicyCounts } from './report.ts';

export interface TlsSession {
  readonly domain: string;
  readonly host: string;
  /** TLSA records in force, in presentation form. */
  readonly tlsa: readonly string[];
  /** `success`, or a result type of RFC 8460 §4.3. */
  readonly result: string;
  readonly sendingIp: string;
  readonly receivingIp: string;
}

/** What no relay comes near; beyond, sessions go uncounted. */
const maxDomains = 500;
const maxPolicies = 8;
const maxFailures = 50;
const maxHosts = 10;
/**
 * Of all of it as JSON. Names and TLSA records are as long as their owners like, up to 64 KiB a policy, and whoever
 * has an account and a zone can make us meet thousands.
 */
const maxTotalChars = 1024 * 1024;

const policySchema = v.object({
  tlsa: v.array(v.string()),
  hosts: v.array(v.string()),
  successes: v.number(),
  failures: v.array(
    v.object({
      resultType: v.string(),
      receivingHost: v.string(),
      receivingIp: v.string(),
      sendingIp: v.string(),
      count: v.number(),
    }),
  ),
});
const fileSchema = v.array(
  v.object({
    domain: v.string(),
    day: v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\d$/)),
    policies: v.array(policySchema),
  }),
);

export interface SessionCounter {
  count(session: TlsSession, day: string): void;
  /** Days that are over, oldest first. */
  finished(today: string): readonly DomainCounts[];
  remove(counts: DomainCounts): void;
  /** Writes the file where something changed since. */
  save(): Promise<void>;
}

/** Reads what was counted before; a file that is broken counts for nothing. */
export async function openSessionCounter(path: string): Promise<SessionCounter> {
  let all = parse(await readTextIfPresent(path));
  let changed = false;
  let totalChars = JSON.stringify(all).length;
  if (totalChars > maxTotalChars) {
    all = [];
    totalChars = 0;
  }
  /** False, and nothing is taken, when there is no room for `value` and the comma after it. */
  const takesRoom = (value: unknown): boolean => {
    const chars = JSON.stringify(value).length + 1;
    if (totalChars + chars > maxTotalChars) return false;
    totalChars += chars;
    return true;
  };

  const policyOf = (session: TlsSession, day: string): PolicyCounts | undefined => {
    let counts = all.find((one) => one.domain === session.domain && one.day === day);
    if (counts === undefined) {
      if (all.length >= maxDomains) return undefined;
      counts = { domain: session.domain, day, policies: [] };
      if (!takesRoom(counts)) return undefined;
      all.push(counts);
    }
    const key = session.tlsa.join('\n');
    const known = counts.policies.find(({ tlsa }) => tlsa.join('\n') === key);
    if (known !== undefined) return known;
    if (counts.policies.length >= maxPolicies) return undefined;
    const made: PolicyCounts = { tlsa: session.tlsa, hosts: [], successes: 0, failures: [] };
    if (!takesRoom(made)) return undefined;
    counts.policies.push(made);
    return made;
  };

  return {
    count(session, day) {
      const policy = policyOf(session, day);
      if (policy === undefined) return;
      changed = true;
      const { host, result, receivingIp, sendingIp } = session;
      if (!policy.hosts.includes(host) && policy.hosts.length < maxHosts && takesRoom(host)) {
        policy.hosts.push(host);
      }
      if (result === 'success') {
        policy.successes++;
        return;
      }
      const failure = policy.failures.find(
        (one) => one.resultType === result && one.receivingHost === host && one.receivingIp === receivingIp,
      );
      if (failure !== undefined) {
        failure.count++;
        return;
      }
      const made = { resultType: result, receivingHost: host, receivingIp, sendingIp, count: 1 };
      if (policy.failures.length < maxFailures && takesRoom(made)) policy.failures.push(made);
    },
    finished: (today) => all.filter(({ day }) => day < today).toSorted((a, b) => (a.day < b.day ? -1 : 1)),
    remove(counts) {
      all = all.filter((one) => one !== counts);
      totalChars = JSON.stringify(all).length;
      changed = true;
    },
    async save() {
      if (!changed) return;
      changed = false;
      await writeFileAtomic(path, JSON.stringify(all), { mode: 0o600 }).catch((error: unknown) => {
        // A full disk: the next time it is still to be written.
        changed = true;
        throw error;
      });
    },
  };
}

function parse(text: string | undefined): DomainCounts[] {
  if (text === undefined) return [];
  try {
    return v.parse(fileSchema, JSON.parse(text)).slice(0, maxDomains);
  } catch {
    return [];
  }
}
