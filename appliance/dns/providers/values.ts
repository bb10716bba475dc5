/** Record values as providers' interfaces spell them, to and from canonical text. */
import { absoluteName } from '../name.ts';
import { canonicalValue } from '../rdata.ts';

/** Types whose value ends with a host name. */
const hostTypes = ['CNAME', 'MX', 'NS', 'SRV', 'PTR', 'DNAME', 'ALIAS'];

/**
 * The canonical value of text in which a host name without a final dot is relative to the zone, as in a
 * zone file; `@` is the zone.
 */
export function fromZoneFile(type: string, text: string, zone: string): string {
  if (!hostTypes.includes(type)) return canonicalValue(type, text);
  const parts = text.trim().split(/\s+/);
  const host = parts.pop() ?? '';
  const absolute = host.endsWith('.') ? host : `${absoluteName(host, zone)}.`;
  return canonicalValue(type, [...parts, absolute].join(' '));
}

/** The canonical value of text in which every host name is absolute, with or without its final dot. */
export function fromAbsolute(type: string, text: string): string {
  if (!hostTypes.includes(type)) return canonicalValue(type, text);
  const trimmed = text.trim();
  return canonicalValue(type, trimmed.endsWith('.') ? trimmed : `${trimmed}.`);
}

/** The value without the final dot of its host name, for interfaces that want none. */
export function withoutFinalDot(type: string, value: string): string {
  return hostTypes.includes(type) ? value.replace(/\.$/, '') : value;
}

/** MX and SRV values in two: the first number, and the rest. Others have no number. */
export function splitPriority(type: string, value: string): { priority: number | null; rest: string } {
  if (type !== 'MX' && type !== 'SRV') return { priority: null, rest: value };
  const [priority = '', ...rest] = value.split(' ');
  return { priority: Number(priority), rest: rest.join(' ') };
}

/** A CAA value in its parts. */
export function splitCaa(value: string): { flags: number; tag: string; content: string } {
  const [, flags = '', tag = '', content = ''] = /^(\d+) (\S+) "(.*)"$/s.exec(value) ?? [];
  return { flags: Number(flags), tag, content: content.replace(/\\(.)/g, '$1') };
}
