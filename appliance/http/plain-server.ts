/**
 * HTTP on port 80: answers to certificate authorities (RFC 8555 §8.3), and for everybody else the way to HTTPS.
 * A browser warns of a certificate that nobody vouches for: a relay with such a one shows its pages here as well.
 */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { ClientCounter, clientKey } from '../base/client-address.ts';
import type { Log } from '../base/log.ts';
import { guarded } from './guarded.ts';

export interface PlainServerOptions {
  /** What is asked for at /.well-known/acme-challenge/TOKEN; undefined when nobody knows the token. */
  readonly respondToChallenge: (path: string) => string | undefined;
  /** Hosts that HTTPS is served for; the first one is for those who ask for none of them. IPv6 in brackets. */
  readonly hosts: readonly [string, ...string[]];
  /** Shows pages, where there is no certificate to be redirected to; undefined redirects. */
  readonly pages: () => RequestListener | undefined;
  readonly log: Log;
  readonly maxConnections?: number;
  readonly maxPerAddress?: number;
}

const challengePrefix = '/.well-known/acme-challenge/';
/** Longer targets are nobody's who types a name. */
const maxTargetLength = 2048;

/** A server that is not listening yet. */
export function createPlainServer({ log, ...options }: PlainServerOptions): Server {
  const { maxConnections = 500, maxPerAddress = 50 } = options;
  const server = createServer(
    {
      maxHeaderSize: 8 * 1024,
      headersTimeout: 10_000,
      requestTimeout: 10_000,
      connectionsCheckingInterval: 5000,
      keepAliveTimeout: 5000,
    },
    guarded((request, response) => {
      const answer = respond(request, options);
      if (typeof answer === 'function') answer(request, response);
      else
        response.writeHead(answer.status, answer.headers).end(request.method === 'HEAD' ? '' : answer.text);
    }, log),
  );
  server.maxConnections = maxConnections;
  // Of accept(2): the next client may do better.
  server.on('error', (error) => log.warn('accept failed', { error: error.message }));
  server.maxRequestsPerSocket = 100;
  server.timeout = 30_000;
  const perAddress = new ClientCounter(maxPerAddress);
  server.prependListener('connection', (client) => {
    const key = clientKey(client.remoteAddress ?? '');
    if (perAddress.tryEnter(key)) client.once('close', () => perAddress.leave(key));
    else client.destroy();
  });
  return server;
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

function plainAnswer(status: number, text: string, headers: Readonly<Record<string, string>> = {}): Answer {
  return {
    status,
    text,
    headers: {
      'content-type': 'text/plain; charset=utf-8',
      'content-length': String(Buffer.byteLength(text)),
      'x-content-type-options': 'nosniff',
      ...headers,
    },
  };
}

function respond(
  { method, url = '/', headers }: IncomingMessage,
  { respondToChallenge, hosts, pages }: Omit<PlainServerOptions, 'log'>,
): Answer | RequestListener {
  if (method !== 'GET' && method !== 'HEAD') {
    // A body has been sent in the clear already; to repeat it elsewhere would hide that.
    return plainAnswer(405, 'Only GET and HEAD here: use https://\n', {
      allow: 'GET, HEAD',
      connection: 'close',
    });
  }
  if (url.length > maxTargetLength) return plainAnswer(414, 'URL too long\n', { connection: 'close' });
  if (url.startsWith(challengePrefix)) {
    const text = respondToChallenge(url);
    return text === undefined ? plainAnswer(404, 'No such challenge\n') : plainAnswer(200, text);
  }
  const page = pages();
  if (page !== undefined) return page;
  const target = redirectTarget(url, headers.host ?? '', hosts);
  // 301 and not 308: some old probes know only this one, and for GET they mean the same (RFC 9110 §15.4).
  return plainAnswer(301, `See ${target}\n`, { location: target });
}

/** Where a request for `path` is sent: only ever to a host of ours, whatever the request says. */
export function redirectTarget(
  path: string,
  requested: string,
  hosts: readonly [string, ...string[]],
): string {
  const name = requested.toLowerCase().replace(/:\d*$/, '');
  const host = hosts.find((one) => one === name) ?? hosts[0];
  // Absolute forms (proxies) and `*` go to the start page; what could end the header line is encoded.
  const safe = path.startsWith('/') ? path.replace(/[^\x21-\x7e]/g, encodeURIComponent) : '/';
  return `https://${host}${safe}`;
}
