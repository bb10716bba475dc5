/** Records as people read them: lines of a zone file (RFC 1035 §5.1). */
import type { RecordSet, WantedRecord } from '../contract/dns-records.ts';
import { txtText } from './presentation.ts';

/** One record as a line that can be pasted into any zone file: absolute, with TTL and class. */
export function recordLine(record: Omit<RecordSet, 'values'>, value: string): string {
  return `${record.name}. ${record.ttlSec} IN ${record.type} ${value}`;
}

export function recordLines(set: RecordSet): readonly string[] {
  return set.values.map((value) => recordLine(set, value));
}

/** A zone file with the reason of each record before it. */
export function zoneFile(domainName: string, records: readonly WantedRecord[]): string {
  const lines = [`; DNS records of the chatmail relay ${domainName}`];
  for (const level of ['required', 'recommended'] as const) {
    const group = records.filter((record) => record.level === level);
    if (group.length > 0) lines.push('', `; ${level}`);
    for (const record of group) lines.push(`; ${record.why}`, ...recordLines(record));
  }
  return `${lines.join('\n')}\n`;
}

/** `1 hour`, `90 seconds`: for waiting times. */
export function durationText(seconds: number): string {
  const units = [
    [86_400, 'day'],
    [3600, 'hour'],
    [60, 'minute'],
  ] as const;
  for (const [size, unit] of units) {
    const count = Math.round(seconds / size);
    if (seconds >= 2 * size || seconds === size) return `${count} ${unit}${count === 1 ? '' : 's'}`;
  }
  return `${Math.round(seconds)} second${Math.round(seconds) === 1 ? '' : 's'}`;
}

/** The text of a TXT value for people, other values as they are; long ones cut. */
export function shortValue(type: string, value: string, maxCharacters = 60): string {
  const text = type === 'TXT' ? txtText(value) : value;
  return text.length > maxCharacters ? `${text.slice(0, maxCharacters - 1)}…` : text;
}
