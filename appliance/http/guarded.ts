/** Keeps one request's failure from being everybody's. */
import type { RequestListener } from 'node:http';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

/** The handler; when it throws before it has answered, the client gets a 500 and the log the reason. */
export function guarded(handle: RequestListener, log: Log): RequestListener {
  return (request, response) => {
    try {
      handle(request, response);
    } catch (error) {
      log.error('request failed', { error: messageOf(error) });
      if (response.headersSent) response.destroy();
      else response.writeHead(500, { connection: 'close' }).end();
    }
  };
}
