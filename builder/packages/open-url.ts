/** One attempt at a URL: `http:`, `https:` or `file:`, from an offset on, with failures sorted by what helps. */
import { createReadStream } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { messageOf, systemCode } from '../../appliance/base/errors.ts';
import type { BlobSink } from './blob.ts';
import { PackageError } from './errors.ts';

/** Answers that may be different a moment later (RFC 9110 §15). */
const temporaryStatuses = new Set([408, 425, 429, 500, 502, 503, 504]);

/** May be worth another attempt. */
export class TemporaryFailure extends Error {}

export interface Opened {
  readonly chunks: AsyncIterator<Uint8Array>;
  readonly lastModified: string | null;
}

/** The rest of the file after what the sink has, or null when it has not changed. */
export async function openUrl(
  url: string,
  sink: BlobSink,
  subject: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Opened | null> {
  const { protocol } = new URL(url);
  if (protocol === 'file:') return { chunks: await openFile(url, sink, subject, signal), lastModified: null };
  const { bare, authorization } = withoutCredentials(url);
  const offset = sink.writtenBytes;
  const response = await fromNetwork(
    () =>
      fetch(bare, {
        signal,
        headers: {
          // A .gz that the server decodes on the way would no longer have its digest.
          'Accept-Encoding': 'identity',
          ...headers,
          ...authorization,
          ...(offset > 0 && { Range: `bytes=${offset}-` }),
        },
      }),
    signal,
  );
  if (response.status === 304) return null;
  if (response.status === 206 && offset > 0) {
    const start = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
    if (Number(start) !== offset) {
      await response.body?.cancel();
      await sink.restart();
      throw new TemporaryFailure('the server resumed at another place');
    }
  } else if (response.status === 200) {
    if (offset > 0) await sink.restart();
  } else {
    await response.body?.cancel();
    throw statusError(response.status, url, subject);
  }
  const chunks = response.body === null ? emptyIterator() : response.body[Symbol.asyncIterator]();
  return { chunks, lastModified: response.headers.get('last-modified') };
}

async function* emptyIterator(): AsyncGenerator<Uint8Array> {}

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
  if (status === 416) return new TemporaryFailure('the server cannot resume');
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

/** What fetch throws is a failure of the network, unless the caller or the stall timer ended it. */
export async function fromNetwork<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (signal.aborted && signal.reason instanceof TemporaryFailure) throw signal.reason;
    if (error instanceof Error && error.name === 'AbortError') throw error;
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    throw new TemporaryFailure(describe(cause), { cause });
  }
}

const explanations: Readonly<Record<string, string>> = {
  ENOTFOUND: 'there is no such host, or no network',
  EAI_AGAIN: 'its name cannot be looked up, there may be no network',
  ECONNREFUSED: 'the connection was refused',
  ENETUNREACH: 'there is no network',
  EHOSTUNREACH: 'the host cannot be reached',
  UND_ERR_CONNECT_TIMEOUT: 'the connection timed out',
  UND_ERR_SOCKET: 'the connection broke off',
};

function describe(cause: unknown): string {
  return explanations[systemCode(cause) ?? ''] ?? messageOf(cause);
}

export function hostOf(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return protocol === 'file:' ? pathname : host;
}

/** fetch() refuses URLs with a password; apt's sources may have one. */
function withoutCredentials(url: string): { bare: string; authorization: Record<string, string> } {
  const parsed = new URL(url);
  if (parsed.username === '') return { bare: url, authorization: {} };
  const pair = `${decodeURIComponent(parsed.username)}:${decodeURIComponent(parsed.password)}`;
  parsed.username = '';
  parsed.password = '';
  return {
    bare: parsed.href,
    authorization: { Authorization: `Basic ${Buffer.from(pair).toString('base64')}` },
  };
}
