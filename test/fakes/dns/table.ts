/**
 * DNS as a table, for tests of what is done with answers: zones with their servers, a resolver at 9.9.9.9,
 * and whatever is wrong with them. Real sockets and servers are tested elsewhere.
 */
import { isIPv6 } from 'node:net';
import { type Exchange, NoAnswerError } from '../../../appliance/dns/exchange.ts';
import { type Message, rcodes, type ResourceRecord } from '../../../appliance/dns/message.ts';
import { isWithin } from '../../../appliance/dns/name.ts';
import { canonicalValue } from '../../../appliance/dns/rdata.ts';

export interface TableZone {
  /** Addresses by host name. */
  readonly servers: Readonly<Record<string, readonly string[]>>;
  /** `chat.example.org 3600 A 203.0.113.5` */
  readonly records: readonly string[];
  /** What the parent delegates to, where that differs. */
  readonly parentServers?: readonly string[];
  readonly signed?: boolean;
}

export interface Table {
  readonly zones: Readonly<Record<string, TableZone>>;
  /** What is wrong with the server at an address; `records` is what it has instead of its zone. */
  readonly servers?: Readonly<
    Record<
      string,
      { readonly state?: 'down' | 'unreachable' | 'lame' | 'servfail'; readonly records?: readonly string[] }
    >
  >;
  /** Zones whose signatures are wrong. */
  readonly bogus?: readonly string[];
  /** What the resolver has instead of a zone, as from its cache. */
  readonly cached?: Readonly<Record<string, readonly string[]>>;
  readonly resolverDown?: boolean;
}

export const tableResolver = { address: '9.9.9.9' };

export function tableExchange(table: Table): Exchange {
  const zoneOf = (name: string) =>
    Object.keys(table.zones)
      .filter((zone) => isWithin(name, zone))
      .sort((a, b) => b.length - a.length)[0];
  return async (server, query, { signal }) => {
    signal.throwIfAborted();
    const question = query.questions[0];
    if (question === undefined) throw new Error('No question');
    const reply: Message = { ...query, response: true, additionals: [] };
    if (server.address === tableResolver.address) {
      if (table.resolverDown === true) throw new NoAnswerError('timeout', '9.9.9.9 does not answer');
      return recurse(table, zoneOf, reply, question.name, question.type);
    }
    const fault = table.servers?.[server.address];
    if (fault?.state === 'down') throw new NoAnswerError('timeout', `${server.address} does not answer`);
    if (fault?.state === 'unreachable') {
      throw new NoAnswerError('unreachable', `${server.address} can't be reached from here (ENETUNREACH)`);
    }
    if (fault?.state === 'servfail' && question.type !== 'SOA') return { ...reply, rcode: rcodes.servFail };
    const zone = serving(table, server.address, question.name);
    if (fault?.state === 'lame' || zone === undefined) return { ...reply, rcode: rcodes.refused };
    const child = zoneOf(question.name);
    if (child !== undefined && child !== zone) return referral(table, reply, child);
    return answer({ ...reply, authoritative: true }, zone, linesOf(table, zone, fault?.records), question);
  };
}

function serving(table: Table, address: string, name: string): string | undefined {
  return Object.entries(table.zones)
    .filter(([zone, { servers }]) => isWithin(name, zone) && Object.values(servers).flat().includes(address))
    .map(([zone]) => zone)
    .sort((a, b) => b.length - a.length)[0];
}

function referral(table: Table, reply: Message, child: string): Message {
  const zone = table.zones[child];
  const names = zone?.parentServers ?? Object.keys(zone?.servers ?? {});
  return { ...reply, authorities: names.map((name) => record(`${child} 3600 NS ${name}.`)) };
}

function linesOf(table: Table, zone: string, instead?: readonly string[]): ResourceRecord[] {
  const found = table.zones[zone];
  const fixed = [
    `${zone} 3600 SOA hidden.${zone || 'root'}. hostmaster.${zone || 'root'}. ${instead === undefined ? 7 : 6} 3600 600 86400 300`,
    ...Object.keys(found?.servers ?? {}).map((name) => `${zone} 3600 NS ${name}.`),
  ];
  return [...fixed, ...(instead ?? found?.records ?? [])].map(record);
}

function record(line: string): ResourceRecord {
  const [name = '', ttl = '', type = '', ...value] = line.split(' ');
  return { name, type, class: 1, ttlSec: Number(ttl), value: canonicalValue(type, value.join(' ')) };
}

function answer(
  reply: Message,
  zone: string,
  records: readonly ResourceRecord[],
  question: { name: string; type: string },
): Message {
  const answers: ResourceRecord[] = [];
  let name = question.name;
  for (let hops = 0; hops < 8; hops++) {
    const here = records.filter((one) => one.name === name);
    const alias = here.find((one) => one.type === 'CNAME');
    if (alias === undefined || question.type === 'CNAME') {
      answers.push(...here.filter((one) => one.type === question.type));
      break;
    }
    answers.push(alias);
    name = alias.value.replace(/\.$/, '');
  }
  const exists = answers.length > 0 || records.some((one) => isWithin(one.name, name));
  const soa = answers.length === 0 ? records.filter((one) => one.type === 'SOA') : [];
  return { ...reply, rcode: exists ? rcodes.noError : rcodes.nxDomain, answers, authorities: soa };
}

function recurse(
  table: Table,
  zoneOf: (name: string) => string | undefined,
  reply: Message,
  name: string,
  type: string,
): Message {
  // The addresses of name servers are known without being listed.
  for (const { servers } of Object.values(table.zones)) {
    const addresses = servers[name] ?? [];
    if (addresses.length === 0 || (type !== 'A' && type !== 'AAAA')) continue;
    const found = addresses.filter((address) => isIPv6(address) === (type === 'AAAA'));
    return {
      ...reply,
      recursionAvailable: true,
      answers: found.map((address) => record(`${name} 3600 ${type} ${address}`)),
    };
  }
  const asked = type === 'DS' ? name.split('.').slice(1).join('.') : name;
  const zone = zoneOf(asked);
  if (zone === undefined) return { ...reply, rcode: rcodes.nxDomain, recursionAvailable: true };
  if (table.bogus?.includes(zone) === true && !reply.checkingDisabled)
    return { ...reply, rcode: rcodes.servFail };
  const secure = table.zones[zone]?.signed === true;
  const base = { ...reply, recursionAvailable: true, authenticData: secure };
  const child = table.zones[name];
  if (type === 'DS') {
    return {
      ...base,
      answers: child?.signed === true ? [{ ...record(`${name} 3600 TXT "x"`), type: 'DS' }] : [],
    };
  }
  const all = Object.keys(table.zones).flatMap((one) => linesOf(table, one, table.cached?.[one]));
  const found = answer(base, zone, all, { name, type });
  return { ...found, authorities: found.authorities.filter((soa) => soa.name === zone) };
}
