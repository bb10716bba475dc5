/**
 * Whether published records do what a wanted record asks: compared by meaning, never as strings. Pure.
 * The same judgement tells `dns check` what to report and `dns push` what to keep, drop and add.
 */
import type { WantedRecord } from '../contract/dns-records.ts';
import { txtText } from './presentation.ts';
import { canonicalValues } from './rdata.ts';
import { spfFault } from './spf.ts';

export interface Judgement {
  readonly state: 'fine' | 'missing' | 'wrong';
  /** What is wrong with it, in half a sentence; empty when fine or simply missing. */
  readonly reason: string;
  /** Worse than its absence: breaks mail or lets others misuse the name. */
  readonly dangerous: boolean;
  /** Published values of other purposes in the same set, which must stay. */
  readonly keep: readonly string[];
  /** Published values that must go. */
  readonly drop: readonly string[];
}

/** What the relay's records are judged against besides themselves. */
export interface JudgementContext {
  readonly domainName: string;
  readonly addresses: readonly string[];
}

/**
 * @param held the values published in the record's set, canonical
 */
export function judge(wanted: WantedRecord, held: readonly string[], context: JudgementContext): Judgement {
  const values = canonicalValues(wanted.type, wanted.values);
  const ours = held.filter((value) => concerns(wanted, value));
  const keep = held.filter((value) => !ours.includes(value));
  if (ours.length === 0) return { state: 'missing', reason: '', dangerous: false, keep, drop: [] };
  if (wanted.purpose === 'caa') return judgeCaa(values, ours, keep);
  const fault = faultOf(wanted, values, ours, context);
  if (fault === null) return { state: 'fine', reason: '', dangerous: false, keep, drop: [] };
  const drop = ours.filter((value) => !values.includes(value));
  return { state: 'wrong', reason: fault.reason, dangerous: fault.dangerous ?? false, keep, drop };
}

/** The set as it should be published, given what is there. */
export function mergedValues(wanted: WantedRecord, judgement: Judgement): readonly string[] {
  return canonicalValues(wanted.type, [...judgement.keep, ...wanted.values]);
}

export interface Fault {
  readonly reason: string;
  readonly dangerous?: boolean;
}

/** The first words that mark a TXT record as one of a kind, of which a name may have only one. */
const txtMarks: Readonly<Partial<Record<WantedRecord['purpose'], RegExp>>> = {
  spf: /^v=spf1(?: |$)/i,
  dmarc: /^v\s*=\s*DMARC1\s*(?:;|$)/,
  'mta-sts': /^v=STSv1\s*(?:;|$)/,
  'tls-report': /^v=TLSRPTv1\s*(?:;|$)/,
  adsp: /^dkim\s*=/i,
};

/** True when a published value is of the record's own kind; values of other kinds are left alone. */
function concerns(wanted: WantedRecord, value: string): boolean {
  const mark = txtMarks[wanted.purpose];
  // Everything under our DKIM selector is ours to judge: a second key there breaks the first.
  return mark === undefined || mark.test(txtText(value));
}

function faultOf(
  wanted: WantedRecord,
  values: readonly string[],
  ours: readonly string[],
  context: JudgementContext,
): Fault | null {
  switch (wanted.purpose) {
    case 'spf':
      return ours.length > 1
        ? twice('SPF record', 'every check of the sender fails')
        : spfFault(txtText(ours[0] ?? ''), context.addresses, context.domainName);
    case 'dmarc':
      return ours.length > 1 ? twice('DMARC record', 'both are ignored') : dmarcFault(ours);
    case 'dkim':
      return ours.length > 1
        ? twice('key under this selector', 'servers may pick the wrong one')
        : dkimFault(values, ours);
    case 'mta-sts':
      return ours.length > 1 ? twice('MTA-STS record', 'both are ignored') : mtaStsFault(values, ours);
    case 'tls-report':
    case 'adsp':
      return sameSet(values.map(tagText), ours.map(tagText)) ? null : { reason: 'it says something else' };
    case 'mx':
      return mxFault(values, ours);
    case 'address':
      return addressFault(values, ours);
    case 'tlsa':
      // DANE takes any one match (RFC 6698 §2.1), so a further pin is harmless.
      if (values.some((value) => ours.includes(value))) return null;
      return {
        reason: 'it pins another certificate, so servers that check DANE refuse to deliver',
        dangerous: true,
      };
    case 'service':
      return serviceFault(values, ours);
    default:
      return sameSet(values, ours) ? null : { reason: `it points to ${ours.join(', ')}` };
  }
}

function twice(what: string, effect: string): Fault {
  return { reason: `there is more than one ${what}, so ${effect}`, dangerous: true };
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((value) => b.includes(value));
}

/** `a=b; c=d` as its tags in order of name, without spaces. Unknown tags stay. */
export function tags(value: string): ReadonlyMap<string, string> {
  const pairs = txtText(value)
    .split(';')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part): [string, string] => {
      const [name = '', ...rest] = part.split('=');
      return [name.trim().toLowerCase(), rest.join('=').trim()];
    });
  return new Map(pairs);
}

function tagText(value: string): string {
  return [...tags(value)]
    .map(([name, text]) => `${name}=${text}`)
    .sort()
    .join(';');
}

function addressFault(values: readonly string[], ours: readonly string[]): Fault | null {
  const strays = ours.filter((value) => !values.includes(value));
  if (strays.length > 0) {
    return { reason: `it also leads to ${strays.join(', ')}, which is not the relay`, dangerous: true };
  }
  const absent = values.filter((value) => !ours.includes(value));
  return absent.length === 0 ? null : { reason: `${absent.join(', ')} is missing` };
}

function mxFault(values: readonly string[], ours: readonly string[]): Fault | null {
  const hosts = (list: readonly string[]) => list.map((value) => value.split(' ')[1] ?? '');
  const strays = hosts(ours).filter((host) => !hosts(values).includes(host));
  // A lone MX means the same whatever its preference is.
  if (strays.length === 0) return null;
  const names = strays.map((host) => (host === '.' ? 'nobody (a null MX)' : host)).join(', ');
  return { reason: `other servers would also bring mail to ${names}`, dangerous: true };
}

function serviceFault(values: readonly string[], ours: readonly string[]): Fault | null {
  const places = (list: readonly string[]) => list.map((value) => value.split(' ').slice(2).join(' '));
  if (sameSet(places(values), [...new Set(places(ours))])) return null;
  return { reason: `it sends mail programs to ${places(ours).join(', ')}` };
}

/** RFC 6376 §3.6.1. */
function dkimFault(values: readonly string[], ours: readonly string[]): Fault | null {
  const wanted = tags(values[0] ?? '');
  const held = tags(ours[0] ?? '');
  const key = (text: string | undefined) => (text ?? '').replace(/\s/g, '');
  if (held.get('p') === undefined) return { reason: 'it is not a DKIM key', dangerous: true };
  if (held.get('p') === '') return { reason: 'it says that the key is revoked', dangerous: true };
  if (key(held.get('p')) !== key(wanted.get('p'))) {
    return {
      reason: 'it is another key than the one here, so every signature of the relay fails',
      dangerous: true,
    };
  }
  if ((held.get('v') ?? 'DKIM1') !== 'DKIM1') return { reason: 'its version is not DKIM1' };
  if ((held.get('k') ?? 'rsa').toLowerCase() !== wanted.get('k')) return { reason: 'its key type is wrong' };
  if (held.has('h') && !/(^|:)\s*sha256\s*(:|$)/i.test(held.get('h') ?? '')) {
    return { reason: 'it does not allow SHA-256' };
  }
  if (held.has('s') && !/(^|:)\s*(email|\*)\s*(:|$)/i.test(held.get('s') ?? '')) {
    return { reason: 'it is not for mail' };
  }
  if (/(^|:)\s*y\s*(:|$)/i.test(held.get('t') ?? ''))
    return { reason: 'it says that DKIM is only being tried' };
  return null;
}

/** RFC 7489 §6.3. More tags, such as rua, are the operator's business. */
function dmarcFault(ours: readonly string[]): Fault | null {
  const held = tags(ours[0] ?? '');
  const policy = held.get('p')?.toLowerCase();
  if (policy !== 'reject')
    return { reason: `its policy is "${policy ?? 'missing'}", so forged mail is let through` };
  if (Number(held.get('pct') ?? 100) < 100)
    return { reason: `it covers only ${held.get('pct')} % of the mail` };
  return null;
}

/** RFC 8461 §3.1. */
function mtaStsFault(values: readonly string[], ours: readonly string[]): Fault | null {
  const held = tags(ours[0] ?? '').get('id') ?? '';
  if (!/^[a-z0-9]{1,32}$/i.test(held)) return { reason: 'its id is not 1 to 32 letters and digits' };
  if (held !== tags(values[0] ?? '').get('id')) {
    return { reason: 'its id is of another policy, so senders may go on with an old one' };
  }
  return null;
}

export interface CaaIssue {
  readonly authority: string;
  readonly accountUri: string | undefined;
  readonly value: string;
}

/** The `issue` properties of a CAA set (RFC 8659 §4.2, RFC 8657 §3). */
export function caaIssues(values: readonly string[]): readonly CaaIssue[] {
  return values.flatMap((value) => {
    const match = /^\d+ issue "(.*)"$/s.exec(value);
    if (match === null) return [];
    const [authority = '', ...parameters] = (match[1] ?? '').split(';').map((part) => part.trim());
    const account = parameters.find((part) => part.startsWith('accounturi='));
    return {
      authority: authority.toLowerCase(),
      accountUri: account?.slice('accounturi='.length),
      value,
    };
  });
}

function judgeCaa(values: readonly string[], held: readonly string[], keep: readonly string[]): Judgement {
  const [wanted] = caaIssues(values);
  const issues = caaIssues(held);
  const fine: Judgement = { state: 'fine', reason: '', dangerous: false, keep, drop: [] };
  // Without any issue property everybody may issue (RFC 8659 §4.2): ours is then simply missing.
  if (issues.length === 0) return { ...fine, state: 'missing', keep: [...keep, ...held] };
  const same = issues.filter((issue) => issue.authority === wanted?.authority);
  const looser = same.filter((issue) => issue.accountUri === undefined);
  const exact = same.filter((issue) => issue.accountUri === wanted?.accountUri);
  // Before the first certificate we do not know the account's URL, so any account may be ours.
  if (wanted?.accountUri === undefined && same.length > 0) return fine;
  if (exact.length > 0 && looser.length === 0) return fine;
  const drop = [
    ...same.map((issue) => issue.value),
    ...issues.filter((i) => i.authority === '').map((i) => i.value),
  ];
  const rest = [...keep, ...held.filter((value) => !drop.includes(value))];
  if (looser.length > 0) {
    return {
      state: 'wrong',
      reason: 'it lets any account at the authority have certificates',
      dangerous: false,
      keep: rest,
      drop,
    };
  }
  const reason =
    same.length > 0
      ? 'it allows another ACME account only, so the relay gets no certificate'
      : `it does not allow ${wanted?.authority ?? ''}, so the relay gets no certificate`;
  return { state: 'wrong', reason, dangerous: true, keep: rest, drop };
}
