/**
 * HTTP as the providers' interfaces use it: a deadline for each request, a limit for each answer, patience
 * with rate limits and passing faults, and errors in our words. Secrets are cut out of whatever is shown.
 */
import { ProtocolError } from '../../base/errors.ts';
import { type ProviderContext, ProviderError, type ProviderErrorCode } from '../provider.ts';
import { durationText } from '../zone-text.ts';

export interface HttpApiOptions {
  /** The provider's name, for messages. */
  readonly title: string;
  readonly baseUrl: string;
  readonly context: ProviderContext;
  /** Texts that must never be shown. */
  readonly secrets: readonly string[];
  /**
   * The provider's own reading of an answer: what an error says, also one that comes with a good status.
   * Null leaves it to the status.
   */
  readonly explain: (answer: HttpAnswer) => { code?: ProviderErrorCode; message?: string } | null;
  /** Headers of each request; made anew for each try, since some are signatures over the time. */
  readonly headers: (request: PreparedRequest) => Readonly<Record<string, string>>;
}

export interface PreparedRequest {
  readonly method: string;
  readonly url: URL;
  /** Empty where there is none. */
  readonly body: string;
}

export interface HttpRequest {
  readonly query?: Readonly<Record<string, string>>;
  /** Sent as JSON; a string goes as it is. */
  readonly body?: unknown;
  readonly signal: AbortSignal;
  /** Statuses beside 2xx that the caller takes as an answer. */
  readonly accept?: readonly number[];
  /** Doing it twice does no harm. By default every method but POST. */
  readonly repeatable?: boolean;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON, or undefined when it is none. */
  readonly json: unknown;
}

export interface HttpApi {
  /** @throws ProviderError */
  request(method: string, path: string, request: HttpRequest): Promise<HttpAnswer>;
  /** An error of this provider, with secrets cut out. */
  error(code: ProviderErrorCode, message: string, options?: ErrorOptions & { fix?: string }): ProviderError;
}

/** One request; the slowest answers measured at providers stay well below. */
const requestTimeoutMs = 30_000;
/** The largest answers are zone lists: 10,000 records of some 400 bytes. */
const maxAnswerBytes = 8 * 1024 * 1024;
const maxTries = 4;
const firstPauseMs = 1000;
/** deSEC's limits per minute make us wait up to 60 s; a longer wait is the operator's decision. */
const maxRateLimitPauseMs = 65_000;
const maxShownCharacters = 300;

export function createHttpApi(options: HttpApiOptions): HttpApi {
  const { context, title } = options;

  const error: HttpApi['error'] = (code, message, more) =>
    new ProviderError(code, `${title}: ${redact(message, options.secrets)}`, more);

  const request: HttpApi['request'] = async (method, path, asked) => {
    const url = new URL(options.baseUrl + path);
    for (const [name, value] of Object.entries(asked.query ?? {})) url.searchParams.set(name, value);
    const body =
      asked.body === undefined
        ? ''
        : typeof asked.body === 'string'
          ? asked.body
          : JSON.stringify(asked.body);
    const prepared: PreparedRequest = { method, url, body };
    // A POST may have been done although its answer is lost; the next run's diff tells.
    const repeatable = asked.repeatable ?? method !== 'POST';
    for (let tried = 1; ; tried++) {
      const answer = await send(prepared, options, asked.signal).catch((cause: unknown) => {
        asked.signal.throwIfAborted();
        if (cause instanceof ProtocolError) throw error('unexpected', cause.message, { cause });
        return cause;
      });
      const retry = (code: ProviderErrorCode, headers: Headers) =>
        pauseBeforeRetry(code, tried, repeatable, headers, context.clock());
      if (!isAnswer(answer)) {
        const pauseMs = retry('unavailable', new Headers());
        if (pauseMs === null) {
          throw error('unavailable', `cannot reach ${url.host} (${causeText(answer)})`, { cause: answer });
        }
        await context.sleep(pauseMs, asked.signal);
        continue;
      }
      if (asked.accept?.includes(answer.status) === true) return answer;
      const told = options.explain(answer);
      if (told === null && answer.status >= 200 && answer.status < 300) return answer;
      const code = told?.code ?? codeOfStatus(answer.status);
      const pauseMs = retry(code, answer.headers);
      if (pauseMs === null) {
        const waitMs = code === 'rate-limited' ? retryAfterMs(answer.headers, context.clock()) : null;
        const wait = waitMs === null ? '' : `; it asks us to wait ${durationText(waitMs / 1000)}`;
        throw error(
          code,
          `${told?.message ?? `answers ${answer.status} to ${method} ${url.pathname}`}${wait}`,
        );
      }
      await context.sleep(pauseMs, asked.signal);
    }
  };
  return { request, error };
}

/**
 * How long to wait before a failed call is made again; null when it is not to be made again.
 * @param tried how often it was made, from 1
 * @param repeatable whether it may be made again although it may have been done
 */
export function pauseBeforeRetry(
  code: ProviderErrorCode,
  tried: number,
  repeatable: boolean,
  headers: Headers,
  now: Date,
): number | null {
  if (tried >= maxTries) return null;
  const pauseMs = firstPauseMs * 2 ** (tried - 1);
  if (code === 'unavailable') return repeatable ? pauseMs : null;
  if (code !== 'rate-limited') return null;
  // A refused call was not done, whatever it is.
  const waitMs = retryAfterMs(headers, now) ?? pauseMs;
  return waitMs <= maxRateLimitPauseMs ? waitMs : null;
}

function isAnswer(value: unknown): value is HttpAnswer {
  return typeof value === 'object' && value !== null && 'status' in value && 'text' in value;
}

async function send(
  prepared: PreparedRequest,
  options: HttpApiOptions,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const headers: Record<string, string> = { accept: 'application/json', ...options.headers(prepared) };
  if (prepared.body !== '' && headers['content-type'] === undefined) {
    headers['content-type'] = 'application/json';
  }
  const response = await options.context.fetch(prepared.url, {
    method: prepared.method,
    headers,
    ...(prepared.body === '' ? {} : { body: prepared.body }),
    // A redirect could carry the token to another host.
    redirect: 'manual',
    signal: AbortSignal.any([signal, AbortSignal.timeout(requestTimeoutMs)]),
  });
  const text = await readLimited(response);
  return { status: response.status, headers: response.headers, text, json: parseJson(text) };
}

async function readLimited(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of response.body ?? []) {
    total += chunk.length;
    if (total > maxAnswerBytes) throw new ProtocolError(`the answer is longer than ${maxAnswerBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function codeOfStatus(status: number): ProviderErrorCode {
  if (status === 401) return 'wrong-credentials';
  if (status === 403) return 'not-allowed';
  if (status === 429) return 'rate-limited';
  if (status >= 500) return 'unavailable';
  if (status === 400 || status === 409 || status === 422) return 'rejected';
  return 'unexpected';
}

/** RFC 9110 §10.2.3: seconds or a date; else the Unix time that Hetzner and DigitalOcean give. */
function retryAfterMs(headers: Headers, now: Date): number | null {
  const value = headers.get('retry-after')?.trim() ?? '';
  const reset = Number(headers.get('ratelimit-reset') ?? NaN) * 1000;
  if (value === '' && reset > now.getTime()) return reset - now.getTime();
  if (/^\d{1,9}(\.\d+)?$/.test(value)) return Math.ceil(Number(value) * 1000);
  const date = value === '' ? NaN : Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - now.getTime());
}

function causeText(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  if (thrown.name === 'TimeoutError') return `no answer within ${requestTimeoutMs / 1000} s`;
  const cause = thrown.cause;
  if (cause instanceof Error) return 'code' in cause ? String(cause.code) : cause.message;
  return thrown.message;
}

/** Cuts secrets and control characters out of a provider's words, and shortens them. */
export function redact(text: string, secrets: readonly string[]): string {
  let clean = text;
  for (const secret of secrets) {
    if (secret.length >= 4) clean = clean.replaceAll(secret, '…');
  }
  clean = clean.replace(/\p{Cc}+/gu, ' ').trim();
  return clean.length > maxShownCharacters ? `${clean.slice(0, maxShownCharacters)}…` : clean;
}
