/** Reading as root what lies in a directory of a service, which strangers may have taken over. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { systemCode } from './errors.ts';

/** What is there was not put there by us. */
export class ForeignFileError extends Error {
  override name = 'ForeignFileError';
  readonly code = 'foreign-file';
}

/**
 * The text of the file at `path`, undefined when there is none. Neither led elsewhere by a link, nor held up by a
 * FIFO, nor filled by a file without end.
 * @throws ForeignFileError when it is no file, or longer than `maxBytes`; a system error when it cannot be read
 */
export async function readRegularFile(path: string, maxBytes: number): Promise<string | undefined> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(path, flags).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    // A link, or a socket.
    if (['ELOOP', 'ENXIO'].includes(systemCode(error) ?? ''))
      throw new ForeignFileError(`${path} is not a file`);
    throw error;
  });
  if (file === undefined) return undefined;
  await using _ = file;
  if (!(await file.stat()).isFile()) throw new ForeignFileError(`${path} is not a file`);
  const buffer = Buffer.alloc(maxBytes + 1);
  const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
  if (bytesRead > maxBytes) throw new ForeignFileError(`${path} is longer than ${maxBytes} bytes`);
  return buffer.toString('utf8', 0, bytesRead);
}
