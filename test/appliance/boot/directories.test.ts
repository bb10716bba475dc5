import { chmod, lstat, mkdir, mkdtempDisposable, rmdir, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { dataDirectories, ensureDirectories, runDirectories } from '../../../appliance/boot/directories.ts';

describe('dataDirectories and runDirectories', () => {
  test('name parents before children, and nothing twice', () => {
    for (const list of [dataDirectories, runDirectories]) {
      const seen = new Set(['/run']);
      for (const { path } of list) {
        expect(seen.has(path)).toBe(false);
        if (path !== '/data') expect(seen.has(dirname(path))).toBe(true);
        seen.add(path);
      }
    }
  });
});

describe.skipIf(process.getuid?.() !== 0)('ensureDirectories', () => {
  test('makes them, setgid bit included, and mends what is not as it should be', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'directories-'));
    const wanted = [{ path: join(directory.path, 'a'), uid: 105, gid: 100, mode: 0o2750 }];
    await ensureDirectories(wanted);
    await chmod(join(directory.path, 'a'), 0o777);
    await ensureDirectories(wanted);
    const { uid, gid, mode } = await stat(join(directory.path, 'a'));
    expect([uid, gid, mode & 0o7777]).toEqual([105, 100, 0o2750]);
  });

  test('gives nothing away that a link leads to', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'directories-'));
    const [secret, path] = [join(directory.path, 'secret'), join(directory.path, 'a')];
    await mkdir(secret, { mode: 0o700 });
    for (const target of [secret, join(directory.path, 'missing')]) {
      await symlink(target, path);
      await ensureDirectories([{ path, uid: 106, gid: 106, mode: 0o755 }]);
      const [kept, made] = [await stat(secret), await lstat(path)];
      expect([kept.uid, kept.mode & 0o7777]).toEqual([0, 0o700]);
      expect([made.isDirectory(), made.uid, made.mode & 0o7777]).toEqual([true, 106, 0o755]);
      await rmdir(path);
    }
    await writeFile(path, '');
    await ensureDirectories([{ path, uid: 106, gid: 106, mode: 0o755 }]);
    expect((await lstat(path)).isDirectory()).toBe(true);
  });
});
