/**
 * Asks every authoritative server, and a few resolvers, for everything a check needs, all at once, and
 * returns what each said. Judges nothing.
 */
import { isIPv6 } from 'node:net';
import type { WantedRecord } from '../contract/dns-records.ts';
import {
  type AuthoritativeServer,
  authoritativeServer,
  directQuery,
  type LookupContext,
  recursiveQuery,
  resolveName,
  type ZoneDelegation,
} from './delegation.ts';
import { type NameServer, NoAnswerError } from './exchange.ts';
import { type Message, rcodes, rcodeNames } from './message.ts';
import { mapParallel } from './parallel.ts';
import { canonicalValues, encodeRdata } from './rdata.ts';

/** What one server says about one name and type. */
export interface Answer {
  /** Values of the type, those behind a CNAME included; canonical. */
  readonly values: readonly string[];
  readonly ttlSec: number;
  /** Where a CNAME at the name itself leads. */
  readonly alias?: string;
}

export interface ServerView {
  /** For people: `ns1.example.org (192.0.2.53)`. */
  readonly title: string;
  readonly kind: 'authoritative' | 'resolver';
  /** By questionKey; a question that failed is missing. */
  readonly answers: ReadonlyMap<string, Answer>;
  /** Why nothing, or not everything, could be had; null when all is well. */
  readonly problem: ServerProblem | null;
  /** SOA serial, of authoritative servers. */
  readonly serial?: string;
}

export interface ServerProblem {
  /** `no-path`: this machine can't reach any such address, which says nothing about the server. */
  readonly kind: 'no-path' | 'down' | 'lame';
  readonly text: string;
}

export interface Survey {
  readonly delegation: ZoneDelegation;
  readonly views: readonly ServerView[];
  /** PTR names by address, and the addresses those names lead back to. */
  readonly reverse: ReadonlyMap<string, readonly { readonly name: string; readonly leadsBack: boolean }[]>;
  /** The nearest CAA set above the domain, for when the domain has none of its own (RFC 8659 §3). */
  readonly inheritedCaa: { readonly name: string; readonly values: readonly string[] } | null;
}

export interface Question {
  readonly name: string;
  readonly type: string;
}

export function questionKey(question: Question): string {
  return `${question.name} ${question.type}`;
}

const parallelServers = 12;
const parallelQuestions = 3;
const maxSilent = 2;
const timeoutMs = 3000;

/** What to ask for besides the wanted records themselves: what must not be there, or may stand in for them. */
function surveyQuestions(domainName: string, wanted: readonly WantedRecord[]): readonly Question[] {
  const questions: Question[] = wanted.map(({ name, type }) => ({ name, type }));
  for (const type of ['A', 'AAAA', 'MX', 'TXT', 'CAA']) questions.push({ name: domainName, type });
  questions.push({ name: `_25._tcp.${domainName}`, type: 'TLSA' });
  for (const record of wanted) {
    if (record.type === 'CNAME') {
      for (const type of ['A', 'AAAA']) questions.push({ name: record.name, type });
    }
  }
  return [...new Map(questions.map((question) => [questionKey(question), question])).values()];
}

/**
 * @param addresses the relay's, for their PTR records
 * @throws LookupError when the zone can't be found at all
 */
export async function surveyDns(
  delegation: ZoneDelegation,
  asked: {
    readonly domainName: string;
    readonly wanted: readonly WantedRecord[];
    readonly addresses: readonly string[];
  },
  context: LookupContext,
): Promise<Survey> {
  const questions = surveyQuestions(asked.domainName, asked.wanted);
  const servers = delegation.servers.map((server) => ({ kind: 'authoritative' as const, server }));
  const resolvers = context.resolvers.map((server) => ({ kind: 'resolver' as const, server }));
  const [views, reverse, inheritedCaa] = await Promise.all([
    mapParallel([...servers, ...resolvers], parallelServers, (one) =>
      one.kind === 'authoritative'
        ? viewAuthoritative(one.server, delegation.zone, questions, context)
        : viewResolver(one.server, questions, context),
    ),
    findReverse(asked.addresses, context),
    findInheritedCaa(asked.domainName, context),
  ]);
  return { delegation, views: markMissingPath(views, delegation.servers), reverse, inheritedCaa };
}

/** The answers of every authoritative server to a few questions: what waiting for a change needs. */
export async function viewServers(
  delegation: ZoneDelegation,
  questions: readonly Question[],
  context: LookupContext,
): Promise<readonly ServerView[]> {
  const views = await mapParallel(delegation.servers, parallelServers, (server) =>
    viewAuthoritative(server, delegation.zone, questions, context),
  );
  return markMissingPath(views, delegation.servers);
}

async function viewAuthoritative(
  server: AuthoritativeServer,
  zone: string,
  questions: readonly Question[],
  context: LookupContext,
): Promise<ServerView> {
  const target = authoritativeServer(server.address, context);
  const title = `${server.name} (${server.address})`;
  const base = { title, kind: 'authoritative' as const };
  const ask = (question: Question) =>
    context.exchange(target, directQuery(question.name, question.type), {
      signal: context.signal,
      timeoutMs,
    });
  try {
    const soa = await ask({ name: zone, type: 'SOA' });
    if (!soa.authoritative || soa.rcode !== rcodes.noError) {
      const rcode =
        soa.rcode === rcodes.noError ? 'no authority' : (rcodeNames[soa.rcode] ?? String(soa.rcode));
      const text = `${title} does not serve ${zone} (${rcode})`;
      return { ...base, answers: new Map(), problem: { kind: 'lame', text } };
    }
    const serial = soa.answers.find(({ type }) => type === 'SOA')?.value.split(' ')[2] ?? '';
    const { answers, problem } = await askAll(title, questions, ask, context);
    return { ...base, answers, problem, serial };
  } catch (error) {
    if (!(error instanceof NoAnswerError)) throw error;
    const kind = error.reason === 'unreachable' ? 'no-path' : 'down';
    return { ...base, answers: new Map(), problem: { kind, text: `${server.name}: ${error.message}` } };
  }
}

/** One lost answer does not make the others worthless. */
async function askAll(
  title: string,
  questions: readonly Question[],
  ask: (question: Question) => Promise<Message>,
  context: LookupContext,
): Promise<Pick<ServerView, 'answers' | 'problem'> & { readonly silent: boolean }> {
  const answers = new Map<string, Answer>();
  let problem: ServerProblem | null = null;
  let silent = 0;
  await mapParallel(questions, parallelQuestions, async (question) => {
    const fail = (what: string) => {
      problem ??= { kind: 'down', text: `${title} ${what} for ${question.name} ${question.type}` };
    };
    // A server that is silent twice will be so again: the rest would only take time.
    if (silent >= maxSilent) return;
    try {
      const reply = await ask(question);
      const answer = await readAnswer(reply, question, context);
      if (answer === null) fail(`answers ${rcodeNames[reply.rcode] ?? reply.rcode}`);
      else answers.set(questionKey(question), answer);
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
      silent += 1;
      fail('gives no answer');
    }
  });
  return { answers, problem, silent: silent > 0 && answers.size === 0 };
}

async function viewResolver(
  server: NameServer,
  questions: readonly Question[],
  context: LookupContext,
): Promise<ServerView> {
  const title = `resolver ${server.address}`;
  const options = { signal: context.signal, timeoutMs: 2 * timeoutMs };
  const ask = ({ name, type }: Question) => context.exchange(server, recursiveQuery(name, type), options);
  const { answers, problem, silent } = await askAll(title, questions, ask, context);
  // A public resolver that can't be reached at all is often a firewall's doing; the others speak for it.
  const seen: ServerProblem | null = silent ? { kind: 'no-path', text: `${title} does not answer` } : problem;
  return { title, kind: 'resolver', answers, problem: seen };
}

/** Null for an error answer. */
async function readAnswer(
  reply: Message,
  question: Question,
  context: LookupContext,
): Promise<Answer | null> {
  if (reply.rcode !== rcodes.noError && reply.rcode !== rcodes.nxDomain) return null;
  const owners = new Set([question.name]);
  let alias: string | undefined;
  let last: string | undefined;
  if (question.type !== 'CNAME') {
    // Servers list a chain in order; a second round would only matter for one that does not.
    for (const record of reply.answers) {
      if (record.type !== 'CNAME' || !owners.has(record.name)) continue;
      last = record.value.replace(/\.$/, '');
      alias ??= last;
      owners.add(last);
    }
  }
  const records = reply.answers.filter(({ type, name }) => type === question.type && owners.has(name));
  const ttlSec = Math.min(...reply.answers.map((record) => record.ttlSec), 0xffff_ffff);
  const values = canonicalValues(
    question.type,
    records.map(({ value }) => value),
  );
  const answer = {
    values,
    ttlSec: reply.answers.length === 0 ? 0 : ttlSec,
    ...(alias === undefined ? {} : { alias }),
  };
  if (last === undefined || values.length > 0 || reply.recursionAvailable) return answer;
  // The chain leaves the server's zones: a resolver knows what is at its end.
  const end = await resolveName(last, question.type, context);
  const found = end.answers.filter(({ type }) => type === question.type).map(({ value }) => value);
  return { ...answer, values: canonicalValues(question.type, found) };
}

/**
 * When no IPv6 server answers but IPv4 ones do, this machine has no IPv6 (a timeout is how many networks
 * say so); the same the other way round.
 */
function markMissingPath(
  views: readonly ServerView[],
  servers: readonly AuthoritativeServer[],
): readonly ServerView[] {
  const families = servers.map((server) => isIPv6(server.address));
  const dead = (six: boolean) => {
    const some = views.filter((view, index) => view.kind === 'authoritative' && families[index] === six);
    return some.length > 0 && some.every((view) => view.problem?.kind === 'down' && view.answers.size === 0);
  };
  const lost = [true, false].filter((six) => dead(six) && !dead(!six) && families.includes(!six));
  return views.map((view, index) => {
    const six = families[index];
    if (view.kind !== 'authoritative' || six === undefined || !lost.includes(six) || view.problem === null) {
      return view;
    }
    return { ...view, problem: { ...view.problem, kind: 'no-path' } };
  });
}

/** The name of an address in the reverse tree (RFC 1035 §3.5, RFC 3596 §2.5). */
export function reverseName(address: string): string {
  if (!isIPv6(address)) return `${address.split('.').reverse().join('.')}.in-addr.arpa`;
  const digits = Buffer.from(encodeRdata('AAAA', address)).toString('hex').split('');
  return `${digits.reverse().join('.')}.ip6.arpa`;
}

async function findReverse(addresses: readonly string[], context: LookupContext): Promise<Survey['reverse']> {
  const entries = await mapParallel(addresses, parallelQuestions, async (address) => {
    const reply = await resolveName(reverseName(address), 'PTR', context);
    const names = reply.answers
      .filter(({ type }) => type === 'PTR')
      .map(({ value }) => value.replace(/\.$/, ''));
    const checked = await mapParallel(names.slice(0, 4), parallelQuestions, async (name) => {
      const type = isIPv6(address) ? 'AAAA' : 'A';
      const forward = await resolveName(name, type, context);
      return {
        name,
        leadsBack: forward.answers.some((record) => record.type === type && record.value === address),
      };
    });
    return [address, checked] as const;
  });
  return new Map(entries);
}

async function findInheritedCaa(domainName: string, context: LookupContext): Promise<Survey['inheritedCaa']> {
  const labels = domainName.split('.');
  for (let index = 1; index < labels.length; index++) {
    const name = labels.slice(index).join('.');
    const reply = await resolveName(name, 'CAA', context);
    const values = reply.answers.filter(({ type }) => type === 'CAA').map(({ value }) => value);
    if (values.length > 0) return { name, values: canonicalValues('CAA', values) };
  }
  return null;
}
