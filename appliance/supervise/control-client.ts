/** Asks the supervisor. */
import { connect } from 'node:net';
import { ProtocolError } from '../base/errors.ts';
import { type ControlRequest, decodeReply, encodeLine, maxReplyBytes } from './control-protocol.ts';

/**
 * Sends one request to the socket at `path` and returns its result.
 * @throws Error with the supervisor's words when it refuses, a system error when nobody listens,
 *   ProtocolError when what comes back is no reply
 */
export async function askSupervisor(
  path: string,
  request: ControlRequest,
  signal: AbortSignal,
): Promise<unknown> {
  const line = await new Promise<string>((resolve, reject) => {
    const socket = connect({ path, signal });
    let text = '';
    socket.setEncoding('utf8');
    socket.once('error', reject);
    socket.once('connect', () => socket.write(encodeLine(request)));
    socket.on('data', (chunk: string) => {
      text += chunk;
      const end = text.indexOf('\n');
      if (end < 0 && text.length <= maxReplyBytes) return;
      socket.destroy();
      if (end < 0) reject(new ProtocolError(`The reply is longer than ${maxReplyBytes} bytes`));
      else resolve(text.slice(0, end));
    });
    socket.once('close', () => reject(new ProtocolError('The supervisor closed the connection')));
  });
  const reply = decodeReply(line);
  if (!reply.ok) throw new Error(reply.error);
  return reply.result;
}
