/**
 * What the relay does to files of the mail store, which belong to vmail. Use a connection of its own for
 * each command: doveadm ends the output of `fs` commands with nothing that could be told from the next.
 */
import { type Doveadm, DoveadmError } from './client.ts';

/**
 * Removes a directory with everything in it, as user vmail; a missing one is no error.
 */
export async function removeDirectory(doveadm: Doveadm, path: string): Promise<void> {
  try {
    // The first `fs` names the command, the last the file system in dovecot.conf.
    await doveadm.run('', 'fs delete', ['-R', 'fs', path]);
  } catch (error) {
    if (!(error instanceof DoveadmError) || !(await isMissing(doveadm, path))) throw error;
  }
}

/** doveadm fails to delete what is not there in the same words as what it may not delete. */
async function isMissing(doveadm: Doveadm, path: string): Promise<boolean> {
  try {
    await doveadm.run('', 'fs stat', ['fs', path]);
    return false;
  } catch (error) {
    return error instanceof DoveadmError && error.reason === 'NOTFOUND';
  }
}

/** Makes an empty file, or replaces it by a new one; its directory must be there. */
export async function replaceByEmptyFile(doveadm: Doveadm, path: string): Promise<void> {
  await doveadm.run('', 'fs put', ['fs', '/dev/null', path]);
}
