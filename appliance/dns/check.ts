/**
 * What is wrong with a relay's DNS, everything at once, each with the line that mends it. Pure: from the
 * wanted records and a survey of what the servers say.
 */
import type { WantedRecord } from '../contract/dns-records.ts';
import { type Judgement, judge, type JudgementContext, caaIssues } from './meaning.ts';
import { canonicalValues } from './rdata.ts';
import { bySeverity, type Finding, reverseFindings, serverFindings } from './findings.ts';
import { type Answer, questionKey, type ServerView, type Survey } from './survey.ts';
import { durationText, recordLine } from './zone-text.ts';

export interface CheckedRecord {
  readonly wanted: WantedRecord;
  readonly state: 'fine' | 'missing' | 'wrong' | 'unknown';
}

export interface CheckReport {
  readonly records: readonly CheckedRecord[];
  readonly findings: readonly Finding[];
  /** True when nothing is an error. */
  readonly ok: boolean;
}

export function checkDns(
  wanted: readonly WantedRecord[],
  survey: Survey,
  context: JudgementContext,
): CheckReport {
  const checked = wanted.map((record) => checkRecord(record, survey, context));
  const findings = [
    ...checked.flatMap(({ findings: found }) => found),
    ...strayAddresses(wanted, survey, context),
    ...strayTlsa(wanted, survey, context),
    ...inheritedCaa(wanted, survey, context),
    ...serverFindings(survey),
    ...reverseFindings(survey, context),
  ];
  findings.sort(bySeverity);
  return {
    records: checked.map(({ record }) => record),
    findings,
    ok: findings.every((finding) => finding.severity !== 'error'),
  };
}

interface Seen {
  readonly view: ServerView;
  readonly answer: Answer;
  readonly judgement: Judgement;
}

function checkRecord(
  wanted: WantedRecord,
  survey: Survey,
  context: JudgementContext,
): { record: CheckedRecord; findings: Finding[] } {
  const see = (kind: ServerView['kind']): Seen[] =>
    survey.views.flatMap((view) => {
      const answer = view.answers.get(questionKey(wanted));
      if (view.kind !== kind || answer === undefined) return [];
      return { view, answer, judgement: judgeAnswer(wanted, answer, view, context) };
    });
  const seen = see('authoritative');
  const bad = seen.filter(({ judgement }) => judgement.state !== 'fine');
  const [worst] = bad;
  if (seen.length === 0) return { record: { wanted, state: 'unknown' }, findings: [] };
  if (worst !== undefined && bad.length === seen.length) {
    const finding = recordFinding(wanted, worst, context);
    return { record: { wanted, state: worst.judgement.state }, findings: [finding] };
  }
  if (worst !== undefined) {
    return { record: { wanted, state: worst.judgement.state }, findings: [notEverywhere(wanted, seen, bad)] };
  }
  const late = see('resolver').filter(({ judgement }) => judgement.state !== 'fine');
  const findings = late.length === 0 ? [] : [notYetVisible(wanted, late, survey)];
  return { record: { wanted, state: 'fine' }, findings };
}

function judgeAnswer(
  wanted: WantedRecord,
  answer: Answer,
  view: ServerView,
  context: JudgementContext,
): Judgement {
  const judgement = judge(wanted, answer.values, context);
  if (wanted.purpose !== 'alias' || judgement.state === 'fine') return judgement;
  // The addresses themselves do as well as an alias to them.
  const direct = ['A', 'AAAA'].flatMap((type) => {
    return view.answers.get(questionKey({ name: wanted.name, type }))?.values ?? [];
  });
  if (direct.length === 0) return judgement;
  const strays = direct.filter((address) => !context.addresses.includes(address));
  if (strays.length === 0) return { ...judgement, state: 'fine', reason: '', drop: [] };
  const leads =
    answer.values.length > 0 ? `it leads to ${strays.join(', ')}` : `it has the address ${strays.join(', ')}`;
  return { ...judgement, state: 'wrong', reason: `${leads}, which is not the relay` };
}

function severityOf(wanted: WantedRecord, dangerous: boolean): Finding['severity'] {
  return wanted.level === 'required' || dangerous ? 'error' : 'warning';
}

/** Purposes that stand at the domain's own name, where a CNAME takes everything else away. */
const atDomain: readonly WantedRecord['purpose'][] = ['address', 'mx', 'spf', 'caa'];

function recordFinding(wanted: WantedRecord, seen: Seen, context: JudgementContext): Finding {
  const { judgement, answer } = seen;
  const add = canonicalValues(wanted.type, wanted.values).filter((value) => !answer.values.includes(value));
  const base = {
    severity: severityOf(wanted, judgement.dangerous),
    name: wanted.name,
    type: wanted.type,
    add: add.map((value) => recordLine(wanted, value)),
  };
  if (answer.alias !== undefined) {
    const alias = recordLine(
      { name: wanted.name, type: 'CNAME', ttlSec: answer.ttlSec || wanted.ttlSec },
      `${answer.alias}.`,
    );
    const everything = atDomain.includes(wanted.purpose) && wanted.name === context.domainName;
    return {
      ...base,
      code: 'cname-in-the-way',
      message: `${wanted.name} is an alias of ${answer.alias}, so it has no ${wanted.type} record of its own`,
      fix: everything ? 'Replace the alias by the records themselves' : 'Replace the alias by this record',
      remove: [alias],
    };
  }
  if (judgement.state === 'missing') {
    return {
      ...base,
      code: 'missing',
      message: `${labelOf(wanted)} is missing at ${wanted.name}: ${wanted.why}`,
      fix: 'Add the line',
      remove: [],
    };
  }
  const dropped = judgement.drop.map((value) => recordLine({ ...wanted, ttlSec: answer.ttlSec }, value));
  const blocking = strayBeside(wanted, seen, context);
  return {
    ...base,
    code: judgement.dangerous ? 'dangerous' : 'wrong',
    message: `${labelOf(wanted)} at ${wanted.name} is not right: ${judgement.reason}`,
    fix: base.add.length === 0 ? 'Take the other out' : 'Replace what is there',
    remove: [...dropped, ...blocking],
  };
}

/** Addresses at a name that should be an alias. */
function strayBeside(wanted: WantedRecord, seen: Seen, context: JudgementContext): string[] {
  if (wanted.purpose !== 'alias' || seen.answer.values.length > 0) return [];
  return ['A', 'AAAA'].flatMap((type) => {
    const answer = seen.view.answers.get(questionKey({ name: wanted.name, type }));
    const strays = (answer?.values ?? []).filter((value) => !context.addresses.includes(value));
    return strays.map((value) => recordLine({ name: wanted.name, type, ttlSec: answer?.ttlSec ?? 0 }, value));
  });
}

const labels: Readonly<Record<WantedRecord['purpose'], string>> = {
  address: 'The address',
  mx: 'The MX record',
  spf: 'The SPF record',
  dkim: 'The DKIM key',
  dmarc: 'The DMARC policy',
  adsp: 'The ADSP record',
  'mta-sts': 'The MTA-STS record',
  'tls-report': 'The TLS report address',
  caa: 'The CAA record',
  tlsa: 'The TLSA record',
  service: 'The service record',
  alias: 'The alias',
};

function labelOf(wanted: WantedRecord): string {
  return wanted.purpose === 'address'
    ? `The ${wanted.type === 'A' ? 'IPv4' : 'IPv6'} address`
    : labels[wanted.purpose];
}

function notEverywhere(wanted: WantedRecord, seen: readonly Seen[], bad: readonly Seen[]): Finding {
  const titles = (list: readonly Seen[]) =>
    list
      .map(({ view }) => `${view.title}${view.serial === undefined ? '' : `, serial ${view.serial}`}`)
      .join('; ');
  const good = seen.filter((one) => !bad.includes(one));
  return {
    severity: severityOf(wanted, false),
    code: 'not-everywhere',
    name: wanted.name,
    type: wanted.type,
    message: `${labelOf(wanted)} at ${wanted.name} is right on ${titles(good)}, but not yet on ${titles(bad)}`,
    fix: 'Wait until the name servers have the same zone; if that takes over an hour, ask the DNS provider',
    add: [],
    remove: [],
  };
}

function notYetVisible(wanted: WantedRecord, late: readonly Seen[], survey: Survey): Finding {
  const seconds = late.map(({ answer }) =>
    answer.values.length > 0 ? answer.ttlSec : survey.delegation.negativeTtlSec,
  );
  const where = late.map(({ view }) => view.title).join(', ');
  return {
    severity: severityOf(wanted, false),
    code: 'not-yet-visible',
    name: wanted.name,
    type: wanted.type,
    message: `${labelOf(wanted)} at ${wanted.name} is published, but ${where} still ${late.length === 1 ? 'has' : 'have'} the older answer`,
    fix: `Wait: it lasts ${durationText(Math.max(...seconds))} at most`,
    add: [],
    remove: [],
  };
}

/** The values that any authoritative server has for a question. */
function publishedAt(survey: Survey, name: string, type: string): Answer | undefined {
  const answers = survey.views
    .filter(({ kind }) => kind === 'authoritative')
    .flatMap(({ answers: map }) => map.get(questionKey({ name, type })) ?? []);
  return answers.find(({ values }) => values.length > 0) ?? answers[0];
}

/** Addresses of a family that the relay does not have: half the world would go there. */
function strayAddresses(
  wanted: readonly WantedRecord[],
  survey: Survey,
  context: JudgementContext,
): Finding[] {
  return ['A', 'AAAA'].flatMap((type) => {
    if (wanted.some((record) => record.purpose === 'address' && record.type === type)) return [];
    const answer = publishedAt(survey, context.domainName, type);
    if (answer === undefined || answer.values.length === 0 || answer.alias !== undefined) return [];
    const [flag, family] = type === 'A' ? ['--ipv4', 'IPv4'] : ['--ipv6', 'IPv6'];
    return {
      severity: 'error' as const,
      code: 'stray' as const,
      name: context.domainName,
      type,
      message: `${context.domainName} also has the ${family} address ${answer.values.join(', ')}, which was not named as the relay's`,
      fix: `If it is the relay, say ${flag} ${answer.values[0] ?? ''}; if not, take it out`,
      add: [],
      remove: answer.values.map((value) =>
        recordLine({ name: context.domainName, type, ttlSec: answer.ttlSec }, value),
      ),
    };
  });
}

function strayTlsa(wanted: readonly WantedRecord[], survey: Survey, context: JudgementContext): Finding[] {
  const name = `_25._tcp.${context.domainName}`;
  const answer = publishedAt(survey, name, 'TLSA');
  if (answer === undefined || answer.values.length === 0) return [];
  if (wanted.some((record) => record.purpose === 'tlsa')) return [];
  return [
    {
      severity: 'warning',
      code: 'stray',
      name,
      type: 'TLSA',
      message: `${name} pins a certificate, and nothing is known here about the relay's`,
      fix: 'Check it against the relay with --tls-certificate, or take it out: with a pin that does not match, mail is refused',
      add: [],
      remove: answer.values.map((value) => recordLine({ name, type: 'TLSA', ttlSec: answer.ttlSec }, value)),
    },
  ];
}

/** A parent's CAA counts where the domain has none (RFC 8659 §3). */
function inheritedCaa(wanted: readonly WantedRecord[], survey: Survey, context: JudgementContext): Finding[] {
  const record = wanted.find(({ purpose }) => purpose === 'caa');
  const own = publishedAt(survey, context.domainName, 'CAA');
  if (record === undefined || survey.inheritedCaa === null || (own?.values.length ?? 0) > 0) return [];
  const allowed = caaIssues(survey.inheritedCaa.values);
  const [ours] = caaIssues(canonicalValues('CAA', record.values));
  if (allowed.length === 0 || allowed.some(({ authority }) => authority === ours?.authority)) return [];
  return [
    {
      severity: 'error',
      code: 'caa-forbids',
      name: survey.inheritedCaa.name,
      type: 'CAA',
      message: `${survey.inheritedCaa.name} lets only ${allowed.map(({ authority }) => authority || 'nobody').join(', ')} issue certificates, so the relay gets none`,
      fix: 'Add the line: a record of its own overrides that of the parent',
      add: record.values.map((value) => recordLine(record, value)),
      remove: [],
    },
  ];
}
