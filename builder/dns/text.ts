/** Reports of the dns verbs, as people read them. Pure: values in, lines out. */
import { styleText } from 'node:util';
import type { WantedRecord } from '../../appliance/contract/dns-records.ts';
import type { CheckReport } from '../../appliance/dns/check.ts';
import type { Finding } from '../../appliance/dns/findings.ts';
import type { Change, PushPlan } from '../../appliance/dns/plan.ts';
import type { HeldRecordSet } from '../../appliance/dns/provider.ts';
import { recordLine, shortValue } from '../../appliance/dns/zone-text.ts';

/** Colour only where there is a terminal. */
export type Paint = (colour: 'red' | 'green' | 'yellow' | 'gray', text: string) => string;
export const plain: Paint = (_, text) => text;
export const coloured: Paint = (colour, text) => styleText(colour, text, { validateStream: false });

export function recordTable(records: readonly WantedRecord[]): string {
  const rows = records.flatMap((record) =>
    record.values.map((value) => [
      record.level === 'required' ? '*' : ' ',
      record.name,
      record.type,
      shortValue(record.type, value),
      record.why,
    ]),
  );
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n\n* required, the others recommended\n`;
}

const marks = { error: ['red', '✗'], warning: ['yellow', '!'], note: ['gray', '·'] } as const;

export function reportText(report: CheckReport, paint: Paint): string {
  const lines = report.findings.flatMap((finding) => findingLines(finding, paint));
  const fine = report.records.filter(({ state }) => state === 'fine').length;
  const count = (severity: Finding['severity']) =>
    report.findings.filter((finding) => finding.severity === severity).length;
  const total = `${fine} of ${report.records.length} records are right`;
  const rest = `${plural(count('error'), 'error')}, ${plural(count('warning'), 'warning')}`;
  lines.push(report.ok ? paint('green', `✓ ${total}; ${rest}`) : paint('red', `✗ ${total}; ${rest}`));
  return `${lines.join('\n')}\n`;
}

function findingLines(finding: Finding, paint: Paint): string[] {
  const [colour, mark] = marks[finding.severity];
  const lines = [`${paint(colour, mark)} ${finding.message}`];
  if (finding.fix !== '')
    lines.push(`    ${finding.fix}${finding.add.length + finding.remove.length > 0 ? ':' : ''}`);
  lines.push(...finding.remove.map((line) => paint('red', `    - ${line}`)));
  lines.push(...finding.add.map((line) => paint('green', `    + ${line}`)));
  return lines;
}

export function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}

/** What a push would do, as a diff with the reason of each change. */
export function planText(plan: PushPlan, paint: Paint): string {
  const lines: string[] = [];
  for (const step of plan.steps) {
    lines.push(step.title);
    for (const change of step.changes) lines.push(...changeLines(change, paint));
  }
  for (const record of plan.unsupported) {
    lines.push(
      paint('yellow', `! ${record.name} ${record.type} can't be held by this provider: ${record.why}`),
    );
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

function changeLines(change: Change, paint: Paint): string[] {
  const foreign = change.replacesForeign ? paint('yellow', ' (not published by us)') : '';
  const lines = [`  ${paint('gray', `# ${change.reason}`)}${foreign}`];
  const before = change.before?.values ?? [];
  const after = change.after?.values ?? [];
  const altered = change.before?.altered;
  const show = (mark: string, set: HeldRecordSet | null, value: string) =>
    set === null ? [] : [`  ${mark} ${recordLine(set, value)}`];
  for (const value of before) {
    if (altered !== undefined)
      lines.push(...show('-', change.before, `${value} (${altered})`).map((l) => paint('red', l)));
    else if (!after.includes(value))
      lines.push(...show('-', change.before, value).map((l) => paint('red', l)));
    else lines.push(...show(' ', change.before, value));
  }
  for (const value of after) {
    if (altered !== undefined || !before.includes(value)) {
      lines.push(...show('+', change.after, value).map((line) => paint('green', line)));
    }
  }
  return lines;
}
