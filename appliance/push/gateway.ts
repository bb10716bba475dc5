/** Posts tokens to the notification gateway over kept-alive connections. */
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { PostToken } from './notifier.ts';

/** Run by the makers of Delta Chat; the only one that holds the keys of Apple and Google for their apps. */
export const gatewayUrl = 'https://notifications.delta.chat/notify';

const timeoutMs = 30_000;
const maxIdleSockets = 4;

/** A poster to `url`; close its kept connections by disposing of it. */
export function createGateway(url: string): { post: PostToken } & Disposable {
  const isSecure = new URL(url).protocol === 'https:';
  const agentOptions = { keepAlive: true, maxFreeSockets: maxIdleSockets, timeout: 60_000 };
  const agent = isSecure ? new HttpsAgent(agentOptions) : new HttpAgent(agentOptions);
  const request = isSecure ? httpsRequest : httpRequest;
  return {
    async post(token, signal) {
      const body = Buffer.from(token);
      return new Promise<number>((resolve, reject) => {
        const outgoing = request(
          url,
          {
            method: 'POST',
            agent,
            signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
            headers: { 'content-type': 'text/plain', 'content-length': body.length },
          },
          (response) => {
            response.once('error', reject);
            // Nothing in the answer matters but its status; read to its end, so that the connection is free.
            response.once('end', () => resolve(response.statusCode ?? 0));
            response.resume();
          },
        );
        outgoing.once('error', reject);
        // Also without an error: after a 101 Node just ends the connection.
        outgoing.once('close', () => reject(new Error('The connection was closed without an answer')));
        outgoing.end(body);
      });
    },
    [Symbol.dispose]() {
      agent.destroy();
    },
  };
}
