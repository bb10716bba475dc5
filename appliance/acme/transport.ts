/**
 * The way acme-client's requests take: axios' own is replaced by requestHttps, which bounds them and stops
 * at a signal. Refusals become AcmeProblem here, since acme-client keeps of them no more than a sentence.
 */
import type { axios as AcmeAxios } from 'acme-client';
import * as v from 'valibot';
import { requestHttps, retryAfterMs, UnreachableError } from './https.ts';

/** The authority refuses (RFC 8555 §6.7, RFC 9457). */
export class AcmeProblem extends Error {
  override name = 'AcmeProblem';
  readonly status: number;
  /** Without `urn:ietf:params:acme:error:`; empty for one that is not of ACME. */
  readonly code: string;
  readonly retryAfterMs: number | undefined;
  constructor(status: number, code: string, detail: string, retryAt: number | undefined) {
    super(detail);
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAt;
  }
}

const problemSchema = v.object({
  type: v.optional(v.string(), ''),
  detail: v.optional(v.string(), ''),
  subproblems: v.optional(
    v.array(
      v.object({
        detail: v.optional(v.string(), ''),
        identifier: v.optional(v.object({ value: v.string() })),
      }),
    ),
    [],
  ),
});
const problemPrefix = 'urn:ietf:params:acme:error:';
const maxDetailChars = 1000;

/** A problem document as code and one text; undefined when it is none. */
export function readProblem(document: unknown): { code: string; detail: string } | undefined {
  const result = v.safeParse(problemSchema, document);
  if (!result.success) return undefined;
  const { type, detail, subproblems } = result.output;
  if (type === '' && detail === '') return undefined;
  const parts = subproblems.map((each) => `${each.identifier?.value ?? ''}: ${each.detail}`);
  return {
    code: type.startsWith(problemPrefix) ? type.slice(problemPrefix.length, problemPrefix.length + 64) : '',
    detail: [detail, ...parts]
      .join('; ')
      .replace(/\p{Cc}+/gu, ' ')
      .slice(0, maxDetailChars),
  };
}

export interface Transport {
  /** When the authority wants to be asked for `url` again; undefined when it did not say. */
  retryAt(url: string): number | undefined;
}

/** Answers whose Retry-After is remembered: those of one order. */
const maxRemembered = 64;

/** Makes `axios`, the instance in acme-client, send its requests by requestHttps. */
export function takeOver(axios: typeof AcmeAxios, signal: AbortSignal, userAgent: string): Transport {
  const retryTimes = new Map<string, number>();
  // Its own retries know neither our deadlines nor those of the authority.
  Object.assign(axios.defaults, { acmeSettings: { retryMaxAttempts: 0, retryDefaultDelay: 1 } });
  axios.defaults.adapter = async (config) => {
    const url = config.url ?? '';
    const method =
      config.method?.toUpperCase() === 'POST' ? 'POST' : config.method === 'head' ? 'HEAD' : 'GET';
    const body: unknown = config.data;
    const reply = await requestHttps({
      url,
      method,
      headers: {
        'User-Agent': userAgent,
        ...(method === 'POST' ? { 'Content-Type': 'application/jose+json' } : {}),
      },
      body: typeof body === 'string' ? body : undefined,
      signal,
    });
    const retryAt = retryAfterMs(reply.headers['retry-after'], Date.now());
    retryTimes.delete(url);
    if (retryAt !== undefined && retryTimes.size < maxRemembered) retryTimes.set(url, retryAt);
    if (reply.status >= 400) refuse(reply, retryAt, new URL(url).host);
    const headers = Object.fromEntries(
      Object.entries(reply.headers).flatMap(([name, value]) =>
        value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value]],
      ),
    );
    return { data: reply.body, status: reply.status, statusText: reply.statusText, headers, config };
  };
  return { retryAt: (url) => retryTimes.get(url) };
}

/** @throws AcmeProblem, UnreachableError; returns for what acme-client deals with itself */
function refuse(
  reply: { readonly status: number; readonly body: string },
  retryAt: number | undefined,
  host: string,
): void {
  let document: unknown;
  try {
    document = JSON.parse(reply.body);
  } catch {
    document = undefined;
  }
  const problem = readProblem(document);
  // acme-client takes the new nonce out of the answer and asks again (RFC 8555 §6.5).
  if (problem?.code === 'badNonce') return;
  // serverInternal is a problem document too, but says nothing of the request.
  if (reply.status >= 500 && problem?.code !== 'rateLimited') {
    const said = problem?.detail ?? `status ${reply.status}`;
    throw new UnreachableError('HTTP', `${host} is out of order: ${said}`);
  }
  throw new AcmeProblem(
    reply.status,
    problem?.code ?? '',
    problem?.detail ?? `${host} refuses with status ${reply.status}`,
    retryAt,
  );
}
