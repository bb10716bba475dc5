/** The body of an HTTP message as text, up to a maximum. */
import type { IncomingMessage } from 'node:http';
import { ProtocolError } from './errors.ts';

/** @throws ProtocolError when it is longer; what is left unread goes with the connection */
export async function readBody(message: IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of message) {
    if (!Buffer.isBuffer(chunk)) throw new TypeError('Message has an encoding');
    sizeBytes += chunk.length;
    if (sizeBytes > maxBytes) throw new ProtocolError(`Body longer than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
