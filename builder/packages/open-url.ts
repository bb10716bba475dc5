/** One attempt at a URL: `http:`, `https:` or `file:`, from an offset on, with failures sorted by what helps. */
import { createReadStream } from 'node:fs';
import * as http from 'node:http';
import type { IncomingMessage } from 'node:http';
import * as https from 'node:https';
import { fileURLToPath } from 'node:url';
import { messageOf, systemCode } from '../../appliance/base/errors.ts';
import type { BlobSink } from './blob.ts';
import { PackageError } from './errors.ts';

/** Answers that may be different a moment later, or from the beginning of the file (RFC 9110 §15). */
const temporaryStatuses = new Set([408, 416, 425, 429, 500, 502, 503, 504]);

/** May be worth another attempt. */
export class TemporaryFailure extends Error {}

export interface Opened {
  readonly chunks: AsyncIterator<Uint8Array>;
  readonly lastModified: string | null;
}

/**
 * The rest of the file after what the sink has, or null when it has not changed.
 * @throws TemporaryFailure when another attempt may do; PackageError (not-found, network) when not
 */
export async function openUrl(
  url: string,
  sink: BlobSink,
  subject: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Opened | null> {
  if (new URL(url).protocol === 'file:') {
    return { chunks: await openFile(url, sink, subject, signal), lastModified: null };
  }
  const offset = sink.writtenBytes;
  const response = await fromNetwork(
    () => get(new URL(url), { ...headers, ...(offset > 0 && { Range: `bytes=${offset}-` }) }, signal),
    signal,
  );
  const status = response.statusCode ?? 0;
  if (status === 200) {
    if (offset > 0) await sink.restart();
  } else if (status === 206 && offset > 0) {
    const start = /^bytes (\d+)-/.exec(response.headers['content-range'] ?? '')?.[1];
    if (Number(start) !== offset) {
      await sink.restart();
      throw new TemporaryFailure('the server resumed at another place');
    }
  } else {
    response.resume();
    if (status === 304) return null;
    if (status === 416) await sink.restart();
    throw statusError(status, url, subject);
  }
  const chunks = response[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  return { chunks, lastModified: response.headers['last-modified'] ?? null };
}

/** Debian's own redirector needs one. */
const maxRedirects = 5;

/**
 * Node's http client and not fetch(): through a proxy, fetch() opens a tunnel even for plain HTTP, which
 * most proxies grant to port 443 only; it refuses ports it finds odd; and it decodes what the server says
 * is compressed, which would change a .gz file's digest.
 */
async function get(
  url: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
  redirects = 0,
): Promise<IncomingMessage> {
  const client = url.protocol === 'https:' ? https : http;
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    // The listener stays: an abort after the response would be an uncaught error otherwise.
    client.get(url, { headers, signal }, resolve).on('error', reject);
  });
  const { location } = response.headers;
  const isRedirect = [301, 302, 303, 307, 308].includes(response.statusCode ?? 0);
  if (!isRedirect || location === undefined) return response;
  response.resume();
  const target = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
  if (target === undefined || !/^https?:$/.test(target.protocol) || redirects >= maxRedirects) {
    throw new TemporaryFailure(`the server redirects to ${location.slice(0, 200)}`);
  }
  return await get(target, headers, signal, redirects + 1);
}

async function openFile(
  url: string,
  sink: BlobSink,
  subject: string,
  signal: AbortSignal,
): Promise<AsyncIterator<Uint8Array>> {
  await sink.restart();
  const path = fileURLToPath(url);
  const stream = createReadStream(path, { signal, highWaterMark: 1 << 20 });
  try {
    await new Promise<void>((resolve, reject) => {
      stream.once('open', () => resolve());
      stream.once('error', reject);
    });
  } catch (error) {
    if (systemCode(error) === 'ENOENT') throw notFound(subject, path, error);
    throw error;
  }
  return stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
}

function statusError(status: number, url: string, subject: string): Error {
  if (status === 404 || status === 410) return notFound(subject, hostOf(url));
  if (temporaryStatuses.has(status)) return new TemporaryFailure(`the server answered ${status}`);
  return new PackageError(
    'network',
    `${hostOf(url)} answered ${status} for ${subject}`,
    'Choose another mirror with --mirror URL',
  );
}

function notFound(subject: string, place: string, cause?: unknown): PackageError {
  return new PackageError(
    'not-found',
    `${subject} is not on ${place}`,
    'Run it again with --refresh; if it stays, choose another mirror with --mirror URL',
    { cause },
  );
}

/** What the network throws is a failure of the network, unless the caller or the stall timer ended it. */
export async function fromNetwork<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (signal.aborted && signal.reason instanceof TemporaryFailure) throw signal.reason;
    if (error instanceof Error && error.name === 'AbortError') throw error;
    if (error instanceof TemporaryFailure) throw error;
    throw new TemporaryFailure(describe(error), { cause: error });
  }
}

const explanations: Readonly<Record<string, string>> = {
  ENOTFOUND: 'there is no such host, or no network',
  EAI_AGAIN: 'its name cannot be looked up, there may be no network',
  ECONNREFUSED: 'the connection was refused',
  ENETUNREACH: 'there is no network',
  EHOSTUNREACH: 'the host cannot be reached',
  ETIMEDOUT: 'the connection timed out',
  ECONNRESET: 'the connection broke off',
  EPIPE: 'the connection broke off',
};

function describe(cause: unknown): string {
  return explanations[systemCode(cause) ?? ''] ?? messageOf(cause);
}

export function hostOf(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return protocol === 'file:' ? pathname : host;
}
