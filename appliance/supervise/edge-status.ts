/** Reads what the edge says of itself, without believing that it means well. */
import { ProtocolError } from '../base/errors.ts';
import { readRegularFile } from '../base/regular-file.ts';
import { decodeEdgeStatus, type EdgeStatus, maxEdgeStatusBytes } from '../contract/edge-status.ts';

/**
 * The status in the file at `path`, whose directory the edge may write to; undefined when there is none.
 * @throws ProtocolError when it is none
 */
export async function readEdgeStatus(path: string): Promise<EdgeStatus | undefined> {
  const text = await readRegularFile(path, maxEdgeStatusBytes).catch((error: unknown) => {
    throw new ProtocolError('The status of the edge is not a file, or too long', { cause: error });
  });
  return text === undefined ? undefined : decodeEdgeStatus(text);
}
