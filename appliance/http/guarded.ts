/** Keeps one request's failure from being everybody's, and one client from asking more than it listens. */
import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

/**
 * Requests of one connection that wait for their answer: browsers and relays send one after another. Node hands
 * on all that a packet holds, hundreds of them, and keeps every answer until the client reads.
 */
const maxPipelined = 4;

/**
 * The handler; when it throws before it has answered, the client gets a 500 and the log the reason. A client
 * that asks on and on without waiting loses its connection.
 */
export function guarded(handle: RequestListener, log: Log): RequestListener {
  const unanswered = new WeakMap<Socket, number>();
  return (request, response) => {
    const { socket } = request;
    const count = unanswered.get(socket) ?? 0;
    if (count >= maxPipelined || socket.destroyed) {
      // The rest of the packet still comes by here, and ends here.
      socket.destroy();
      return;
    }
    unanswered.set(socket, count + 1);
    response.once('close', () => unanswered.set(socket, (unanswered.get(socket) ?? 1) - 1));
    try {
      handle(request, response);
    } catch (error) {
      log.error('request failed', { error: messageOf(error) });
      if (response.headersSent) response.destroy();
      else response.writeHead(500, { connection: 'close' }).end();
    }
  };
}
