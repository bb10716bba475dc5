/** What is sent back for a request, as a value; and how it is sent. */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

export interface Reply {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  /**
   * `never`: it holds something secret, or changes each time. `revalidate`: asked for again each time,
   * answered with 304 while it is the same. `day`: not asked for again for a day. Default `never`.
   */
  readonly cache?: 'never' | 'revalidate' | 'day';
  readonly headers?: Readonly<Record<string, string>>;
}

export const types = {
  html: 'text/html; charset=utf-8',
  json: 'application/json',
  text: 'text/plain; charset=utf-8',
  xml: 'text/xml; charset=utf-8',
  svg: 'image/svg+xml',
} as const;

const cacheControl = { never: 'no-store', revalidate: 'no-cache', day: 'public, max-age=86400' } as const;

/** On everything; pages bring a Content-Security-Policy of their own. */
const commonHeaders = {
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'permissions-policy': 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
} as const;

/** Sends `reply`, or as much of it as the request's method and validators ask for. */
export function sendReply(request: IncomingMessage, response: ServerResponse, reply: Reply): void {
  const { status, type, body, cache = 'never' } = reply;
  const headers: Record<string, string> = {
    ...commonHeaders,
    'cache-control': cacheControl[cache],
    ...reply.headers,
  };
  if (cache !== 'never' && status === 200) {
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
    headers['etag'] = etag;
    if (matchesEtag(request.headers['if-none-match'], etag)) {
      response.writeHead(304, headers).end();
      return;
    }
  }
  // A body that nobody has read must not be taken for the next request.
  if (hasBody(request) && !request.complete) headers['connection'] = 'close';
  headers['content-type'] = type;
  headers['content-length'] = String(Buffer.byteLength(body));
  response.writeHead(status, headers).end(request.method === 'HEAD' ? undefined : body);
}

/** RFC 9110 §13.1.2: weak comparison. */
function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(',').some((one) => ['*', etag, `W/${etag}`].includes(one.trim()));
}

/** RFC 9112 §6: how a request says that there is a body. */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
