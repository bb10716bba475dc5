/**
 * Listening on a unix socket that only a group may use. The directory is the supervisor's: setgid, so the
 * socket inherits its group.
 */
import { chmod, rm } from 'node:fs/promises';
import type { Server } from 'node:net';

/**
 * `server` listens at `path` (at most 107 bytes, unix(7)) with mode 0660; a stale socket gives way. A client that
 * cannot be accepted later on, for want of descriptors, is not the end of the process.
 */
export async function listenOnUnixSocket(server: Server, path: string): Promise<void> {
  if (Buffer.byteLength(path) > 107) throw new RangeError(`Socket path is longer than 107 bytes: ${path}`);
  // A process that was killed leaves its socket behind, and bind(2) then fails with EADDRINUSE.
  await rm(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.removeListener('error', reject);
      server.on('error', () => {});
      resolve();
    });
  });
  await chmod(path, 0o660);
}
