/**
 * Downloads over HTTP(S) and from `file:` mirrors: resumed after temporary failures, ended when nothing
 * moves, bounded by the size a signed index declares. Whether the bytes are the right ones is the sink's
 * concern, and its complaint is never retried.
 */
import { IntegrityError, ProtocolError, systemCode } from '../../appliance/base/errors.ts';
import type { Clock } from '../../appliance/base/clock.ts';
import type { BlobClaim, BlobSink } from './blob.ts';
import type { PackageCache } from './cache.ts';
import { PackageError } from './errors.ts';
import { fromNetwork, hostOf, openUrl, TemporaryFailure } from './open-url.ts';

export interface FetchContext {
  readonly signal: AbortSignal;
  readonly clock: Clock;
  /** A download during which nothing arrives for so long is broken off and resumed. Default 30 s. */
  readonly stallTimeoutMs?: number;
  /** Called with the number of bytes that arrived. */
  readonly onBytes?: (count: number) => void;
}

const defaultStallTimeoutMs = 30_000;

/** Waits between attempts: a flaky line is given a few seconds, a dead one not a minute. */
const retryDelaysMs = [500, 1000, 2000, 4000];

/** Names that do not exist, ports that refuse and certificates that are wrong will be so again. */
const finalCodes = /^(?:ENOTFOUND|ECONNREFUSED|EPROTO|ERR_TLS_|CERT_|SELF_SIGNED_|DEPTH_ZERO_|UNABLE_TO_)/;

/**
 * Stores a blob unless the cache has it, from the first of `urls` that has the file. Returns the number of
 * bytes downloaded.
 * @throws IntegrityError, or PackageError (network, not-found) of the last URL
 */
export async function fetchBlob(
  cache: PackageCache,
  claim: BlobClaim,
  urls: readonly string[],
  context: FetchContext,
): Promise<number> {
  if (await cache.hasBlob(claim)) return 0;
  return await cache.storeBlob(claim, async (sink) => {
    await firstThatHas(urls, async (url) => {
      await sink.restart();
      await download(url, sink, claim.subject, context);
    });
  });
}

export type FetchedText =
  /** `lastModified` is the header as it came, for the next If-Modified-Since. */
  | { readonly kind: 'text'; readonly text: string; readonly lastModified: string | null }
  | { readonly kind: 'not-modified' };

/**
 * Reads a small text from one URL.
 * @param maxBytes how much to take at most
 * @param modifiedSince asks for it only if it is newer than this HTTP date (RFC 9110 §13.1.3)
 */
export async function fetchText(
  url: string,
  options: { readonly subject: string; readonly maxBytes: number; readonly modifiedSince?: string | null },
  context: FetchContext,
): Promise<FetchedText> {
  const { subject, maxBytes, modifiedSince } = options;
  const sink = new MemorySink(maxBytes, subject);
  const headers: Record<string, string> =
    modifiedSince === undefined || modifiedSince === null ? {} : { 'If-Modified-Since': modifiedSince };
  const answer = await download(url, sink, subject, context, headers);
  if (answer === 'not-modified') return { kind: 'not-modified' };
  return { kind: 'text', text: sink.text(), lastModified: answer.lastModified };
}

/** Tries URLs in order, going on where a host cannot be reached or has no such file. */
export async function firstThatHas<T>(
  urls: readonly string[],
  attempt: (url: string) => Promise<T>,
): Promise<T> {
  const failures: PackageError[] = [];
  for (const url of urls) {
    try {
      return await attempt(url);
    } catch (error) {
      if (!(error instanceof PackageError)) throw error;
      if (error.code !== 'network' && error.code !== 'not-found') throw error;
      failures.push(error);
    }
  }
  const [first] = failures;
  if (first === undefined) throw new TypeError('No URL was given');
  if (failures.length === 1) throw first;
  // One host may have been asked at several addresses.
  const messages = [...new Set(failures.map(({ message }) => message))].join('; ');
  throw new PackageError(first.code, messages, first.fix, { cause: first });
}

type Answer = 'not-modified' | { readonly lastModified: string | null };

async function download(
  url: string,
  sink: BlobSink,
  subject: string,
  context: FetchContext,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const { clock, signal } = context;
  for (let attempt = 0; ; attempt++) {
    try {
      return await transfer(url, sink, subject, context, headers);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof TemporaryFailure)) throw error;
      const delayMs = retryDelaysMs[attempt];
      if (delayMs === undefined || finalCodes.test(systemCode(error.cause) ?? '')) {
        throw new PackageError(
          'network',
          `${subject} cannot be downloaded from ${hostOf(url)}: ${error.message}`,
          'Check the network, choose another mirror with --mirror URL, or build from what is cached with --offline',
          { cause: error.cause },
        );
      }
      await clock.sleep(delayMs, signal);
    }
  }
}

async function transfer(
  url: string,
  sink: BlobSink,
  subject: string,
  context: FetchContext,
  headers: Readonly<Record<string, string>>,
): Promise<Answer> {
  const stall = new AbortController();
  const stallTimeoutMs = context.stallTimeoutMs ?? defaultStallTimeoutMs;
  const failStalled = () => {
    stall.abort(new TemporaryFailure(`nothing arrived for ${Math.round(stallTimeoutMs / 1000)} s`));
  };
  let timer = setTimeout(failStalled, stallTimeoutMs);
  const signal = AbortSignal.any([context.signal, stall.signal]);
  try {
    const opened = await openUrl(url, sink, subject, headers, signal);
    if (opened === null) return 'not-modified';
    const { chunks, lastModified } = opened;
    for (;;) {
      const next = await fromNetwork(() => chunks.next(), stall.signal);
      if (next.done === true) return { lastModified };
      clearTimeout(timer);
      timer = setTimeout(failStalled, stallTimeoutMs);
      await sink.write(next.value);
      context.onBytes?.(next.value.length);
    }
  } finally {
    clearTimeout(timer);
    stall.abort();
  }
}

class MemorySink implements BlobSink {
  readonly #maxBytes: number;
  readonly #subject: string;
  #chunks: Uint8Array[] = [];
  writtenBytes = 0;

  constructor(maxBytes: number, subject: string) {
    this.#maxBytes = maxBytes;
    this.#subject = subject;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.writtenBytes += chunk.length;
    if (this.writtenBytes > this.#maxBytes) {
      throw new IntegrityError({
        subject: `The size of ${this.#subject}`,
        expected: `at most ${this.#maxBytes} bytes`,
        found: 'more',
      });
    }
    this.#chunks.push(chunk);
  }

  async restart(): Promise<void> {
    this.#chunks = [];
    this.writtenBytes = 0;
  }

  text(): string {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(this.#chunks));
    } catch (error) {
      throw new ProtocolError(`${this.#subject} is not UTF-8 text`, { cause: error });
    }
  }
}
