/**
 * One certificate from an authority (RFC 8555): account, order, proofs, certificate. When a proof fails the
 * order is made again with another way to prove that name, or without the name if it is not required.
 * Runs in a process of its own (appliance/certificate-order.ts), which loads acme-client.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type * as Acme from 'acme-client';
import * as v from 'valibot';
import { messageOf } from '../base/errors.ts';
import { isToken, type PendingChallenge } from './challenges.ts';
import { requestHttps, UnreachableError } from './https.ts';
import type { ChallengeType } from './identifier.ts';
import type { OrderFailure, OrderOutcome, OrderRequest } from './order-protocol.ts';
import { AcmeProblem, readProblem, takeOver, type Transport } from './transport.ts';

export interface OrderContext {
  /** Meets a challenge; resolves when the authority may look. */
  present(challenge: PendingChallenge): Promise<void>;
  remove(challenge: PendingChallenge): Promise<void>;
  /** Told as soon as there is an account. */
  account(url: string): void;
  readonly signal: AbortSignal;
}

type Acme = (typeof Acme)['default'];
type Name = OrderRequest['names'][number];

const userAgent = 'chatmail-build (acme-client)';
/** Each round is an order; three names with three ways each need no more. */
const maxRounds = 6;
/** acme-client tries a request six times with fresh nonces; an authority that restarts may want more. */
const maxNonceRounds = 4;
/** An authority that looks from many places takes half a minute at worst; this is for one that is busy. */
const maxWaitMs = 5 * 60_000;
const maxPauseMs = 30_000;

/** Why an order fails, on its way up. */
class OrderError extends Error {
  override name = 'OrderError';
  readonly failure: OrderFailure;
  constructor(failure: OrderFailure) {
    super(failure.detail);
    this.failure = failure;
  }
}

/** Resolves to the chain, or to why there is none; throws only when aborted or broken. */
export async function orderCertificate(request: OrderRequest, context: OrderContext): Promise<OrderOutcome> {
  const attempts: OrderFailure[] = [];
  try {
    // By its default export: in the bundle a CommonJS module has no other.
    const { default: acme } = await import('acme-client');
    const transport = takeOver(acme.axios, context.signal, userAgent);
    const directory = await readDirectory(request, context.signal);
    const client = await openAccount(acme, request, context);
    return await runRounds({ acme, client, transport, request, context, attempts, ...directory });
  } catch (error) {
    if (context.signal.aborted) throw error;
    if (error instanceof AcmeProblem && error.code === 'accountDoesNotExist') {
      const { accountUrl, ...withoutAccount } = request;
      // The authority has forgotten the account, as test authorities do when they start: make another.
      if (accountUrl !== undefined) return orderCertificate(withoutAccount, context);
    }
    return { kind: 'failed', failure: failureOf(error), attempts };
  }
}

function failureOf(error: unknown): OrderFailure {
  if (error instanceof OrderError) return error.failure;
  if (error instanceof UnreachableError) {
    return { kind: 'unreachable', code: error.code, detail: error.message };
  }
  if (error instanceof AcmeProblem) {
    const { code, message, retryAfterMs } = error;
    return {
      kind: 'problem',
      code,
      detail: message,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    };
  }
  return { kind: 'problem', code: '', detail: messageOf(error).slice(0, 1000) };
}

interface Directory {
  /** Empty: none. */
  readonly profile: string;
}

const directorySchema = v.object({
  newAccount: v.string(),
  newOrder: v.string(),
  meta: v.optional(
    v.object({
      externalAccountRequired: v.optional(v.boolean(), false),
      profiles: v.optional(v.record(v.string(), v.unknown()), {}),
    }),
    {},
  ),
});

async function readDirectory(request: OrderRequest, signal: AbortSignal): Promise<Directory> {
  const reply = await requestHttps({ url: request.directoryUrl, method: 'GET', signal });
  if (reply.status >= 500) {
    throw new UnreachableError('HTTP', `${request.directoryUrl} answers with status ${reply.status}`);
  }
  const result = v.safeParse(v.pipe(v.string(), v.parseJson(), directorySchema), reply.body);
  if (reply.status !== 200 || !result.success) {
    throw new OrderError({
      kind: 'unusable',
      code: 'directory',
      detail: `${request.directoryUrl} is no ACME directory (status ${reply.status})`,
    });
  }
  const { externalAccountRequired, profiles } = result.output.meta;
  if (externalAccountRequired) {
    throw new OrderError({
      kind: 'unusable',
      code: 'externalAccountRequired',
      detail: `${request.directoryUrl} gives certificates only to accounts made elsewhere (external account binding)`,
    });
  }
  const offered = Object.keys(profiles);
  if (request.profile === '' || offered.includes(request.profile)) return { profile: request.profile };
  if (!request.profileRequired) return { profile: '' };
  throw new OrderError({
    kind: 'unusable',
    code: 'invalidProfile',
    detail: `${request.directoryUrl} has no profile ${request.profile}; it offers ${offered.join(', ') || 'none'}`,
  });
}

/** The account whose URL is known, or the one of this key: made when there is none. */
async function openAccount(acme: Acme, request: OrderRequest, context: OrderContext): Promise<Acme.Client> {
  const { directoryUrl, accountKeyPem: accountKey, accountUrl } = request;
  const contact = request.contact === '' ? [] : [`mailto:${request.contact}`];
  if (accountUrl === undefined) {
    const client = new acme.Client({ directoryUrl, accountKey });
    await withNonces(() => client.createAccount({ termsOfServiceAgreed: true, contact }), context.signal);
    context.account(client.getAccountUrl());
    return client;
  }
  const client = new acme.Client({ directoryUrl, accountKey, accountUrl });
  if (request.tellContact) {
    await withNonces(() => client.updateAccount({ contact }), context.signal);
    context.account(accountUrl);
  }
  return client;
}

/** An authority that rejects nonces again and again is asked again and again, for a while. */
async function withNonces<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let round = 1; ; round++) {
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      // acme-client makes a plain Error of the last badNonce; transport.ts makes one of its own of all else.
      const isNonce = error instanceof Error && error.name === 'Error' && /nonce/i.test(error.message);
      if (!isNonce || round >= maxNonceRounds) throw error;
    }
  }
}

interface Rounds extends Directory {
  readonly acme: Acme;
  readonly client: Acme.Client;
  readonly transport: Transport;
  readonly request: OrderRequest;
  readonly context: OrderContext;
  readonly attempts: OrderFailure[];
}

async function runRounds(rounds: Rounds): Promise<OrderOutcome> {
  const { client, request, attempts } = rounds;
  let names: readonly Name[] = request.names;
  const leftOut: OrderFailure[] = [];
  const proven = new Map<string, ChallengeType>();
  for (let round = 0; round < maxRounds; round++) {
    const order = await createOrder(rounds, names);
    const authorizations = await withNonces(() => client.getAuthorizations(order), rounds.context.signal);
    const outcomes = await Promise.all(
      authorizations.map((authorization) => prove(authorization, order, names, rounds)),
    );
    const failures = outcomes.flatMap((outcome) => (outcome.kind === 'refused' ? [outcome.failure] : []));
    attempts.push(...failures);
    for (const outcome of outcomes) {
      if (outcome.kind === 'proven') proven.set(outcome.identifier, outcome.challenge);
    }
    if (failures.length === 0) {
      const chainPem = await finish(order, names, rounds);
      return { kind: 'issued', chainPem, proven: Object.fromEntries(proven), leftOut };
    }
    const next = namesAfter(names, failures);
    if (next.kind === 'give-up') throw new OrderError(next.failure);
    names = next.names;
    leftOut.push(...next.leftOut);
  }
  throw new OrderError(
    attempts.at(-1) ?? { kind: 'problem', code: '', detail: 'The authority kept refusing' },
  );
}

/**
 * What to order after some proofs failed: the next way for those names, or without them. A name that is not
 * required is given up as soon as a required one was proven in the way that failed for it: then it is not
 * the way that is closed, it is the name that leads elsewhere.
 */
export function namesAfter(
  names: readonly Name[],
  failures: readonly OrderFailure[],
):
  | { readonly kind: 'give-up'; readonly failure: OrderFailure }
  | { readonly kind: 'again'; readonly names: readonly Name[]; readonly leftOut: readonly OrderFailure[] } {
  const failureFor = (name: Name) => failures.find((each) => each.identifier === name.identifier.value);
  const open = new Set(
    names
      .filter((name) => name.required && failureFor(name) === undefined)
      .map(({ challenges }) => challenges[0]),
  );
  const kept: Name[] = [];
  const leftOut: OrderFailure[] = [];
  for (const name of names) {
    const failure = failureFor(name);
    if (failure === undefined) {
      kept.push(name);
      continue;
    }
    const challenges = name.challenges.slice(1);
    if (name.required && challenges.length === 0) return { kind: 'give-up', failure };
    if (challenges.length === 0 || (!name.required && open.has(name.challenges[0]))) leftOut.push(failure);
    else kept.push({ ...name, challenges });
  }
  return { kind: 'again', names: kept, leftOut };
}

async function createOrder(rounds: Rounds, names: readonly Name[]): Promise<Acme.Order> {
  const { client, request, profile, context } = rounds;
  const data = {
    identifiers: names.map(({ identifier }) => identifier),
    ...(profile === '' ? {} : { profile }),
  };
  const { replaces } = request;
  if (replaces !== undefined) {
    // Its type does not know the word; it posts what it is given.
    const replacing = { ...data, replaces };
    try {
      return await withNonces(() => client.createOrder(replacing), context.signal);
    } catch (error) {
      // RFC 9773 §5: replaced before, or not known to this authority. Then without that word.
      if (!(error instanceof AcmeProblem) || error.code === 'rateLimited') throw error;
    }
  }
  return withNonces(() => client.createOrder(data), context.signal);
}

type Proof =
  | { readonly kind: 'valid' }
  | { readonly kind: 'proven'; readonly identifier: string; readonly challenge: ChallengeType }
  | { readonly kind: 'refused'; readonly failure: OrderFailure };

async function prove(
  authorization: Acme.Authorization,
  order: Acme.Order,
  names: readonly Name[],
  rounds: Rounds,
): Promise<Proof> {
  // Proven in an earlier order (RFC 8555 §7.1.3).
  if (authorization.status === 'valid') return { kind: 'valid' };
  const { client, context } = rounds;
  const { value } = authorization.identifier;
  const name = names.find(({ identifier }) => sameIdentifier(identifier.value, value));
  const type = name?.challenges[0];
  if (name === undefined || type === undefined) {
    throw new Error(`The authority wants a proof for ${value}, which was not ordered`);
  }
  const identifier = name.identifier.value;
  const refused = (kind: OrderFailure['kind'], code: string, detail: string): Proof => ({
    kind: 'refused',
    failure: { kind, code, detail: detail.slice(0, 1000), identifier, challenge: type },
  });
  const offered = authorization.challenges.find((challenge) => challenge.type === type);
  if (offered === undefined || !isToken(offered.token)) {
    return refused('problem', 'notOffered', `The authority does not offer ${type} for ${identifier}`);
  }
  const keyAuthorization = await client.getChallengeKeyAuthorization(offered);
  const pending = { type, identifier, token: offered.token, keyAuthorization };
  try {
    try {
      await context.present(pending);
    } catch (error) {
      return refused('here', '', messageOf(error));
    }
    await withNonces(() => client.completeChallenge(offered), context.signal);
    const last = await pollAuthorization(authorization, order, rounds);
    if (last.status === 'valid') return { kind: 'proven', identifier, challenge: type };
    const challenge = last.challenges.find((each) => each.type === type);
    const problem = readProblem(
      challenge !== undefined && 'error' in challenge ? challenge.error : undefined,
    );
    const detail = problem?.detail ?? `The authorization for ${identifier} is ${last.status}`;
    return refused('problem', problem?.code ?? '', detail);
  } finally {
    // What is left in the zone or the responder does no harm: the certificate matters more.
    await context.remove(pending).catch(() => {});
  }
}

/** IPv6 addresses may come back in another spelling. */
function sameIdentifier(one: string, other: string): boolean {
  if (!one.includes(':') || !other.includes(':')) return one === other.toLowerCase();
  return new URL(`http://[${one}]`).hostname === new URL(`http://[${other}]`).hostname;
}

async function pollAuthorization(
  authorization: Acme.Authorization,
  order: Acme.Order,
  { client, transport, context }: Rounds,
): Promise<Acme.Authorization> {
  const { url } = authorization;
  return poll(transport, url, context.signal, async () => {
    const [now] = await client.getAuthorizations({ ...order, authorizations: [url] });
    if (now === undefined) throw new Error('The authority lost an authorization');
    return now.status === 'pending' ? undefined : now;
  });
}

/** Asks until there is an answer, as often as the authority wants, or with pauses that grow. */
async function poll<T>(
  transport: Transport,
  url: string,
  signal: AbortSignal,
  ask: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = performance.now() + maxWaitMs;
  for (let pauseMs = 250; ; pauseMs *= 1.5) {
    const answer = await withNonces(ask, signal);
    if (answer !== undefined) return answer;
    const wanted = transport.retryAt(url);
    const waitMs = wanted === undefined ? pauseMs : wanted - Date.now();
    const nextMs = Math.min(Math.max(waitMs, 100), maxPauseMs);
    if (performance.now() + nextMs > deadline) {
      throw new UnreachableError(
        'TIMEOUT',
        `The authority did not decide within ${maxWaitMs / 60_000} minutes`,
      );
    }
    await delay(nextMs, undefined, { signal });
  }
}

async function finish(order: Acme.Order, names: readonly Name[], rounds: Rounds): Promise<string> {
  const { acme, client, request, transport, context } = rounds;
  // No common name: it is deprecated, and holds no more than 64 characters.
  const altNames = names.map(({ identifier }) => identifier.value);
  const [, csr] = await acme.crypto.createCsr({ altNames }, request.certificateKeyPem);
  await withNonces(() => client.finalizeOrder(order, csr), context.signal);
  const last = await poll(transport, order.url, context.signal, async () => {
    const now = await client.getOrder(order);
    return now.status === 'valid' || now.status === 'invalid' ? now : undefined;
  });
  if (last.status !== 'valid') {
    const problem = readProblem('error' in last ? last.error : undefined);
    throw new OrderError({
      kind: 'problem',
      code: problem?.code ?? '',
      detail: problem?.detail ?? 'The authority declared the order invalid',
    });
  }
  return withNonces(() => client.getCertificate(last), context.signal);
}
