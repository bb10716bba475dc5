/** What a check finds, and the findings that are about servers and not about records. Pure. */
import type { JudgementContext } from './meaning.ts';
import type { Survey } from './survey.ts';

export type FindingCode =
  | 'missing'
  | 'wrong'
  | 'dangerous'
  | 'not-everywhere'
  | 'not-yet-visible'
  | 'cname-in-the-way'
  | 'stray'
  | 'caa-forbids'
  | 'server-lame'
  | 'server-down'
  | 'server-not-asked'
  | 'server-error'
  | 'delegation'
  | 'dnssec'
  | 'reverse';

export interface Finding {
  /** `error`: mail or certificates fail, or others can misuse the name. `note`: nothing to do. */
  readonly severity: 'error' | 'warning' | 'note';
  readonly code: FindingCode;
  readonly name: string;
  /** Record type, or '' where it is about servers. */
  readonly type: string;
  readonly message: string;
  readonly fix: string;
  /** Lines for the zone, and lines to take out of it. */
  readonly add: readonly string[];
  readonly remove: readonly string[];
}

const severities: readonly Finding['severity'][] = ['error', 'warning', 'note'];

/** For sorting: the worst first. */
export function bySeverity(a: Finding, b: Finding): number {
  return severities.indexOf(a.severity) - severities.indexOf(b.severity);
}

export function serverFindings(survey: Survey): Finding[] {
  const { delegation } = survey;
  const base = { name: delegation.zone, type: '', add: [], remove: [] };
  const findings: Finding[] = [];
  const views = survey.views.filter(({ kind }) => kind === 'authoritative');
  const answering = views.filter(({ answers }) => answers.size > 0);
  const noPath = views.every(({ problem }) => problem?.kind === 'no-path');
  if (answering.length === 0) {
    findings.push({
      ...base,
      severity: 'error',
      code: 'server-down',
      message: `None of the name servers of ${delegation.zone} answers: ${views.map(({ problem }) => problem?.text ?? '').join('; ')}`,
      fix: noPath
        ? 'Something on the way keeps this machine from asking name servers directly; try from another network'
        : 'Look at the name servers: are they the ones of your DNS provider, and is the zone there?',
    });
  }
  for (const { problem, title, answers } of views) {
    if (problem === null || answering.length === 0) continue;
    if (problem.kind === 'no-path') {
      const message = `Not asked: ${title}, since this machine has no way to it`;
      findings.push({ ...base, severity: 'note', code: 'server-not-asked', message, fix: '' });
    } else if (problem.kind === 'lame') {
      const fix = 'Take it out of the name servers at the registrar, or set the zone up on it';
      findings.push({ ...base, severity: 'error', code: 'server-lame', message: problem.text, fix });
    } else {
      const code = answers.size > 0 ? 'server-error' : 'server-down';
      const fix = 'If it stays so, tell the DNS provider; other servers take its part meanwhile';
      findings.push({ ...base, severity: 'warning', code, message: problem.text, fix });
    }
  }
  const resolvers = survey.views.filter(({ kind }) => kind === 'resolver');
  for (const { problem } of resolvers) {
    if (problem === null || problem.kind === 'no-path') continue;
    const fix = 'If other resolvers answer, wait; if none does, look for a DNSSEC or name server fault';
    findings.push({ ...base, severity: 'warning', code: 'server-error', message: problem.text, fix });
  }
  for (const name of delegation.unresolvable) {
    const message = `The name server ${name} of ${delegation.zone} has no address`;
    findings.push({
      ...base,
      severity: 'warning',
      code: 'delegation',
      message,
      fix: 'Correct or remove it at the registrar',
    });
  }
  const { parentNames, zoneNames } = delegation;
  if (parentNames !== null && parentNames.join() !== zoneNames.join()) {
    findings.push({
      ...base,
      severity: 'warning',
      code: 'delegation',
      message: `The registrar delegates ${delegation.zone} to ${parentNames.join(', ')}, but the zone names ${zoneNames.join(', ')}`,
      fix: 'Make the two lists the same, at the registrar or in the zone',
    });
  }
  if (delegation.dnssec === 'signed') {
    const message = `${delegation.zone} has a DS record, but the resolver asked does not check DNSSEC, so neither did we`;
    findings.push({ ...base, severity: 'note', code: 'dnssec', message, fix: '' });
  }
  return findings;
}

export function reverseFindings(survey: Survey, context: JudgementContext): Finding[] {
  return [...survey.reverse].flatMap(([address, names]) => {
    if (names.some(({ leadsBack }) => leadsBack)) return [];
    const found = names.map(({ name }) => name).join(', ');
    return {
      severity: 'warning' as const,
      code: 'reverse' as const,
      name: address,
      type: 'PTR',
      message:
        names.length === 0
          ? `${address} has no name (PTR), so some servers refuse mail from it`
          : `${address} is called ${found}, and that name does not lead back to it`,
      fix: `Set the reverse name of ${address} to ${context.domainName} where you rent the server or line`,
      add: [],
      remove: [],
    };
  });
}
