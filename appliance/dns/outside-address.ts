/**
 * The IPv4 address that others see this machine behind, from name servers that answer with the address of
 * whoever asks. One of them alone is not believed: where a provider takes every question on port 53 into its
 * own hands, some of them would tell the address of that provider's resolver. The same answer from two that
 * are run by different people, in two different ways, is taken.
 */
import { classes, emptyMessage, rcodes } from './message.ts';
import { type Exchange, NoAnswerError } from './exchange.ts';
import { isPublicAddress } from '../contract/public-address.ts';

export interface AddressSource {
  readonly title: string;
  readonly server: { readonly address: string; readonly port?: number };
  readonly question: { readonly name: string; readonly type: 'A' | 'TXT'; readonly class: number };
}

export const addressSources: readonly AddressSource[] = [
  {
    title: 'OpenDNS',
    server: { address: '208.67.222.222' },
    question: { name: 'myip.opendns.com', type: 'A', class: classes.in },
  },
  {
    title: 'Cloudflare',
    server: { address: '1.1.1.1' },
    question: { name: 'whoami.cloudflare', type: 'TXT', class: classes.chaos },
  },
  {
    title: 'Google',
    server: { address: '216.239.32.10' },
    question: { name: 'o-o.myaddr.l.google.com', type: 'TXT', class: classes.in },
  },
];

const timeoutMs = 5000;

/**
 * Asks all sources.
 * @returns the public address that at least two of them tell; null when there is none such
 */
export async function askOutside(
  exchange: Exchange,
  signal: AbortSignal,
  sources: readonly AddressSource[] = addressSources,
): Promise<string | null> {
  const answers = await Promise.all(sources.map((source) => ask(source, exchange, signal)));
  return agreedAddress(answers);
}

async function ask(
  { server, question }: AddressSource,
  exchange: Exchange,
  signal: AbortSignal,
): Promise<string | null> {
  const query = { ...emptyMessage, recursionDesired: true, questions: [question] };
  try {
    // Over TCP, where nobody can answer in another's name without being on the way.
    const reply = await exchange(server, query, { signal, timeoutMs, tcp: true });
    if (reply.rcode !== rcodes.noError) return null;
    const values = reply.answers.filter(({ type }) => type === question.type).map(({ value }) => value);
    const [only] = values;
    return values.length === 1 && only !== undefined ? only.replaceAll('"', '') : null;
  } catch (error) {
    if (!(error instanceof NoAnswerError)) throw error;
    return null;
  }
}

/** Pure. Where answers differ so that two addresses have two votes each, none is taken. */
export function agreedAddress(answers: readonly (string | null)[]): string | null {
  const votes = new Map<string, number>();
  for (const answer of answers) {
    if (answer !== null && isPublicAddress(answer) && !answer.includes(':')) {
      votes.set(answer, (votes.get(answer) ?? 0) + 1);
    }
  }
  const agreed = [...votes].filter(([, count]) => count >= 2);
  return agreed.length === 1 ? (agreed[0]?.[0] ?? null) : null;
}
