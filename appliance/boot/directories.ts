/** The directories that must be there before services start, with owners and modes. */
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { systemCode } from '../base/errors.ts';
import { paths } from '../contract/paths.ts';
import { groups, users } from '../contract/users.ts';

export interface Directory {
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  /** With setuid, setgid and sticky bits. */
  readonly mode: number;
}

type User = keyof typeof users;
type Group = keyof typeof groups;

const directory = (path: string, user: User, group: Group, mode: number): Directory => ({
  path,
  uid: users[user].uid,
  gid: groups[group],
  mode,
});

/** Of Postfix's queue (postfix-files): who may enter what. */
const queueDirectories: readonly Directory[] = [
  directory(paths.postfixQueue, 'root', 'root', 0o755),
  ...[
    'active',
    'bounce',
    'corrupt',
    'defer',
    'deferred',
    'flush',
    'hold',
    'incoming',
    'private',
    'saved',
    'trace',
  ].map((name) => directory(join(paths.postfixQueue, name), 'postfix', 'root', 0o700)),
  directory(join(paths.postfixQueue, 'maildrop'), 'postfix', 'postdrop', 0o730),
  directory(join(paths.postfixQueue, 'public'), 'postfix', 'postdrop', 0o710),
  directory(join(paths.postfixQueue, 'pid'), 'root', 'root', 0o755),
];

/** On DATA, parents first. */
export const dataDirectories: readonly Directory[] = [
  directory(paths.data, 'root', 'root', 0o755),
  directory(dirname(paths.lastGoodConfig), 'root', 'root', 0o700),
  directory(paths.logs, 'root', 'root', 0o750),
  directory(paths.mail, 'vmail', 'vmail', 0o700),
  directory(dirname(paths.accountsDatabase), 'relay', 'relay', 0o700),
  directory(dirname(paths.dkimKey), 'relay', 'relay', 0o700),
  directory(dirname(paths.tlsCredentials), 'edge', 'edge', 0o700),
  directory(dirname(paths.sshHostKey), 'edge', 'edge', 0o700),
  directory(users.edge.home, 'edge', 'edge', 0o700),
  directory(paths.acme, 'edge', 'edge', 0o700),
  directory(dirname(paths.postfixQueue), 'root', 'root', 0o755),
  ...queueDirectories,
  directory(paths.postfixData, 'postfix', 'postfix', 0o700),
  directory(paths.dovecotState, 'root', 'root', 0o755),
  directory(dirname(paths.lastTime), 'root', 'root', 0o755),
  directory(dirname(paths.wifiPassword), 'root', 'root', 0o700),
  directory(paths.chronyState, 'chrony', 'chrony', 0o750),
  directory(paths.unboundState, 'unbound', 'unbound', 0o750),
];

/** On tmpfs, parents first. */
export const runDirectories: readonly Directory[] = [
  directory(dirname(paths.config), 'root', 'root', 0o755),
  directory(dirname(paths.edgeStatus), 'edge', 'edge', 0o755),
  directory(paths.supervisorRun, 'root', 'root', 0o755),
  directory(paths.postfixConfig, 'root', 'root', 0o755),
  directory(paths.dovecotConfig, 'root', 'root', 0o755),
  directory(paths.unboundConfig, 'unbound', 'unbound', 0o755),
  // chronyd refuses to put its socket into a directory that others may enter.
  directory(paths.chronyConfig, 'chrony', 'chrony', 0o750),
  directory(paths.wifiConfig, 'root', 'root', 0o700),
  directory(paths.avahiConfig, 'root', 'root', 0o755),
  // Where avahi-daemon was built to put its pid.
  directory(users.avahi.home, 'avahi', 'avahi', 0o755),
  directory(paths.networkRun, 'root', 'root', 0o755),
  directory('/run/dovecot', 'root', 'root', 0o755),
  directory(dirname(dirname(paths.milterSocket)), 'root', 'root', 0o755),
  // setgid: the sockets that the relay makes there belong to the group that may use them.
  directory(dirname(paths.milterSocket), 'relay', 'postfix', 0o2750),
  directory(dirname(paths.authSocket), 'relay', 'dovecot', 0o2750),
  directory(dirname(paths.accountsSocket), 'relay', 'edge', 0o2750),
];

/**
 * Makes what is missing and mends owners and modes; never descends into what is there. Some lie in directories of
 * a service, which may have put a link there: root must not give away what it leads to.
 */
export async function ensureDirectories(directories: readonly Directory[]): Promise<void> {
  for (const wanted of directories) {
    await makeDirectory(wanted.path);
    await using directory = await open(wanted.path, constants.O_DIRECTORY | constants.O_NOFOLLOW);
    await mend(directory, wanted);
  }
}

async function makeDirectory(path: string): Promise<void> {
  const found = await lstat(path).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (found?.isDirectory() === true) return;
  // What stands in the way is no directory, so nothing that anybody has put into one is lost.
  if (found !== undefined) await unlink(path);
  await mkdir(path, { recursive: true });
}

async function mend(directory: FileHandle, { uid, gid, mode }: Directory): Promise<void> {
  const now = await directory.stat();
  const isOwned = now.uid === uid && now.gid === gid;
  if (!isOwned) await directory.chown(uid, gid);
  // chown(2) clears the setgid bit, so the mode comes last.
  if ((now.mode & 0o7777) !== mode || !isOwned) await directory.chmod(mode);
}
