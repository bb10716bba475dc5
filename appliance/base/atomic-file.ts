/** Files that are either the old or the new one, whatever happens in between. */
import { randomBytes } from 'node:crypto';
import { open, readFile, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCode } from './errors.ts';

export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

export interface WriteFileOptions {
  readonly mode: number;
  /** Left as it comes when not given. */
  readonly owner?: FileOwner;
  /** False for tmpfs, where flushing buys nothing. Default true. */
  readonly flush?: boolean;
  /** When the file claims to have been changed last. Default: now. */
  readonly modified?: Date;
}

/** Writes beside `path`, flushes, renames over it and flushes the directory. Readers never see half of it. */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  { mode, owner, flush = true, modified }: WriteFileOptions,
): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    {
      await using file = await open(temporary, 'wx', mode);
      await file.writeFile(content);
      // The mode given to open() is cut by the umask.
      await file.chmod(mode);
      if (owner !== undefined) await file.chown(owner.uid, owner.gid);
      if (modified !== undefined) await file.utimes(modified, modified);
      if (flush) await file.sync();
    }
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => {});
    throw error;
  }
  if (flush) await flushDirectory(dirname(path));
}

/**
 * Flushes a directory's entries: without it a rename may be lost at a power cut. Windows opens no directories,
 * and has no need of it.
 */
export async function flushDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  await using directory = await open(path, 'r');
  await directory.sync();
}

/** The file's text, or undefined when there is none. */
export async function readTextIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}
