/** Posts a report over HTTPS (RFC 8460 §5.4). */
import { request } from 'node:https';
import type { LookupFunction } from 'node:net';

const timeoutMs = 60_000;

/**
 * @param lookup says where a name leads, and refuses what leads nowhere
 * @returns the HTTP status; redirects are not followed
 */
export function postReport(
  url: string,
  gzip: Buffer,
  { lookup, signal }: { readonly lookup: LookupFunction; readonly signal: AbortSignal },
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const outgoing = request(
    url,
    {
      method: 'POST',
      // One report a day to each: nothing to keep a connection for.
      agent: false,
      lookup,
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      headers: { 'content-type': 'application/tlsrpt+gzip', 'content-length': gzip.length },
    },
    (response) => {
      resolve(response.statusCode ?? 0);
      response.destroy();
    },
  );
  outgoing.on('error', reject);
  // Also without an error: after a 101 Node just ends the connection.
  outgoing.once('close', () => reject(new Error('The connection was closed without an answer')));
  outgoing.end(gzip);
  return promise;
}
