/**
 * One HTTPS request to an authority: bounded in time and size, no redirects, no cookies, the system's trust
 * (SSL_CERT_FILE). Both what keeps an eye on renewals and what acme-client sends goes through here.
 */
import { request as openRequest } from 'node:https';
import type { IncomingHttpHeaders } from 'node:http';
import { systemCode } from '../base/errors.ts';

export interface HttpsRequest {
  readonly url: string;
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
  readonly signal: AbortSignal;
  /** For the whole exchange. Default 30 s. */
  readonly timeoutMs?: number;
}

export interface HttpsReply {
  readonly status: number;
  readonly statusText: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A certificate chain has some 8 KiB, a directory less; nothing of ACME comes near this. */
const maxReplyBytes = 256 * 1024;
const defaultTimeoutMs = 30_000;

/** No answer came: the fault of neither request nor authority, as far as anybody can tell. */
export class UnreachableError extends Error {
  override name = 'UnreachableError';
  /** Of the system or of OpenSSL: ECONNREFUSED, ENOTFOUND, CERT_NOT_YET_VALID, TIMEOUT …; `HTTP` for a 5xx. */
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * @throws UnreachableError when no whole answer comes, RangeError for a URL that is not https
 */
export async function requestHttps(options: HttpsRequest): Promise<HttpsReply> {
  const { method, headers, body, signal, timeoutMs = defaultTimeoutMs } = options;
  const url = new URL(options.url);
  if (url.protocol !== 'https:') throw new RangeError(`${options.url} is not an https URL`);
  const deadline = AbortSignal.timeout(timeoutMs);
  try {
    return await new Promise<HttpsReply>((resolve, reject) => {
      const request = openRequest(
        url,
        { method, headers: { ...headers }, signal: AbortSignal.any([signal, deadline]) },
        (response) => {
          const chunks: Buffer[] = [];
          let length = 0;
          response.on('data', (chunk: Buffer) => {
            length += chunk.length;
            if (length > maxReplyBytes) response.destroy(new Error(`More than ${maxReplyBytes} bytes`));
            else chunks.push(chunk);
          });
          response.once('error', reject);
          response.once('end', () =>
            resolve({
              status: response.statusCode ?? 0,
              statusText: response.statusMessage ?? '',
              headers: response.headers,
              body: Buffer.concat(chunks).toString('utf8'),
            }),
          );
        },
      );
      request.once('error', reject);
      // Also without an error: after a 101 Node just ends the connection.
      request.once('close', () => reject(new Error('The connection was closed without an answer')));
      request.end(body);
    });
  } catch (error) {
    if (signal.aborted) throw error;
    if (deadline.aborted) {
      throw new UnreachableError('TIMEOUT', `${url.host} did not answer within ${timeoutMs / 1000} s`, {
        cause: error,
      });
    }
    const reason = error instanceof Error ? error.message : String(error);
    throw new UnreachableError(systemCode(error) ?? 'UNKNOWN', `${url.host} cannot be asked: ${reason}`, {
      cause: error,
    });
  }
}

/**
 * When to ask again by a Retry-After header (RFC 9110 §10.2.3: seconds or a date), as milliseconds since
 * 1970; undefined when there is none that makes sense.
 */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined || header.length > 64) return undefined;
  if (/^\d{1,9}$/.test(header)) return nowMs + Number(header) * 1000;
  const date = /[A-Z][a-z]{2}/.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(date) ? undefined : date;
}
