/** Reads what the edge says of itself, without believing that it means well. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { ProtocolError, systemCode } from '../base/errors.ts';
import { decodeEdgeStatus, type EdgeStatus, maxEdgeStatusBytes } from '../contract/edge-status.ts';

/**
 * The status in the file at `path`, whose directory the edge may write to; undefined when there is none.
 * @throws ProtocolError when it is none
 */
export async function readEdgeStatus(path: string): Promise<EdgeStatus | undefined> {
  // Neither led elsewhere by a link nor held up by a FIFO.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(path, flags).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw new ProtocolError('The status of the edge is not a file', { cause: error });
  });
  if (file === undefined) return undefined;
  await using _ = file;
  if (!(await file.stat()).isFile()) throw new ProtocolError('The status of the edge is not a file');
  const buffer = Buffer.alloc(maxEdgeStatusBytes + 1);
  const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
  if (bytesRead > maxEdgeStatusBytes) {
    throw new ProtocolError(`The status of the edge is longer than ${maxEdgeStatusBytes} bytes`);
  }
  return decodeEdgeStatus(buffer.toString('utf8', 0, bytesRead));
}
