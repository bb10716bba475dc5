/**
 * Locks in mailboxes that a power cut left behind. Dovecot writes its process number into them and takes one
 * away whose process is gone; on a machine that starts the same few processes each time that number is soon
 * another's, and the mailbox then stands still for minutes.
 */
import { opendir, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { systemCode } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

/** Dovecot's lock on the numbers of messages, the only one in a maildir that is a file of its own. */
const lockName = 'dovecot-uidlist.lock';

/**
 * Removes them below `mail` (domain/address/, and its folders). Only before Dovecot starts: then nobody holds one.
 */
export async function removeStaleLocks(mail: string, log: Log): Promise<void> {
  let removed = 0;
  const removeIn = async (directory: string): Promise<void> => {
    try {
      await unlink(join(directory, lockName));
      removed += 1;
    } catch (error) {
      if (systemCode(error) !== 'ENOENT')
        log.warn('lock not removed', { directory, code: systemCode(error) });
    }
  };
  for await (const domain of directoriesIn(mail, log)) {
    for await (const home of directoriesIn(domain, log)) {
      await removeIn(home);
      // Maildir++: folders are directories whose names begin with a dot.
      for await (const folder of directoriesIn(home, log)) {
        if (basename(folder).startsWith('.')) await removeIn(folder);
      }
    }
  }
  if (removed > 0) log.info('locks of before the power cut removed', { removed });
}

/** Follows no link: what lies in mailboxes belongs to a service. One that cannot be read holds nobody up. */
async function* directoriesIn(directory: string, log: Log): AsyncGenerator<string> {
  try {
    for await (const entry of await opendir(directory)) {
      if (entry.isDirectory()) yield join(directory, entry.name);
    }
  } catch (error) {
    log.warn('locks not looked for', { directory, code: systemCode(error) });
  }
}
