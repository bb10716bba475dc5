/**
 * The only module that writes to BOOT. It is mounted read-only but for the moment of a write, and a file is
 * replaced by renaming a complete one over it: FAT keeps no journal.
 */
import { randomBytes } from 'node:crypto';
import { open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { flushDirectory } from '../base/atomic-file.ts';
import { isMounted, remount } from '../disk/mount.ts';

/**
 * Replaces a file on BOOT and overwrites the clusters that held the old one, since it held a secret.
 * @param mountPoint where BOOT is mounted; a directory that is no mount point is written as it is
 */
export async function replaceSecretFile(
  mountPoint: string,
  path: string,
  content: string,
  signal: AbortSignal,
): Promise<void> {
  const isMount = await isMounted(mountPoint);
  if (isMount) await remount(mountPoint, ['rw'], signal);
  try {
    // A short name of eight and three, so that FAT needs one directory entry for it.
    const temporary = `${dirname(path)}/${randomBytes(4).toString('hex')}.tmp`;
    await using old = await open(path, 'r+');
    const { size } = await old.stat();
    try {
      await using file = await open(temporary, 'wx', 0o600);
      await file.writeFile(content);
      await file.sync();
      await rename(temporary, path);
    } catch (error) {
      await unlink(temporary).catch(() => {});
      throw error;
    }
    await flushDirectory(dirname(path));
    // The old file has no name any more, but its clusters are ours until it is closed.
    await old.write(Buffer.alloc(size), 0, size, 0);
    await old.sync();
  } finally {
    if (isMount) await remount(mountPoint, ['ro'], signal);
  }
}
