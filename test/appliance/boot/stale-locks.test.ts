import { existsSync } from 'node:fs';
import { mkdir, mkdtempDisposable, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
import { removeStaleLocks } from '../../../appliance/boot/stale-locks.ts';

describe('removeStaleLocks', () => {
  test('takes the locks out of mailboxes and their folders, and nothing else', async () => {
    await using mail = await mkdtempDisposable(join(tmpdir(), 'mail-'));
    await using elsewhere = await mkdtempDisposable(join(tmpdir(), 'elsewhere-'));
    const home = join(mail.path, 'chat.example.org', 'alice0001@chat.example.org');
    await mkdir(join(home, '.Sent'), { recursive: true });
    await mkdir(join(home, 'cur'));
    const locks = [home, join(home, '.Sent')].map((directory) => join(directory, 'dovecot-uidlist.lock'));
    const kept = [
      join(home, 'dovecot-uidlist'),
      join(home, 'cur', 'dovecot-uidlist.lock'),
      join(elsewhere.path, 'dovecot-uidlist.lock'),
    ];
    for (const path of [...locks, ...kept]) await writeFile(path, '1:relay');
    await symlink(elsewhere.path, join(home, '.Link'));
    await removeStaleLocks(mail.path, silentLog);
    expect(locks.filter(existsSync)).toEqual([]);
    expect(kept.filter(existsSync)).toEqual(kept);
  });

  test('is done at once where nobody has mail yet', async () => {
    await using mail = await mkdtempDisposable(join(tmpdir(), 'mail-'));
    await removeStaleLocks(mail.path, silentLog);
    await removeStaleLocks(join(mail.path, 'gone'), silentLog);
  });
});
