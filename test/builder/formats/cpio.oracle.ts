/** cpio(1) and bsdtar judge our initramfs archives. */
import { execFile, spawnSync } from 'node:child_process';
import { lstat, mkdtempDisposable, readFile, readlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { encodeCpio } from '../../../builder/formats/cpio.ts';
import { collect, sampleTree } from './sample-tree.ts';

const run = promisify(execFile);
const has = (tool: string) => spawnSync(tool, ['--version']).status === 0;
const isRoot = process.getuid?.() === 0;

describe.skipIf(!has('cpio') && !process.env['CI'])('cpio', () => {
  test('lists every entry with its mode, owner, device and link target', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'cpio-'));
    const archive = join(directory.path, 'archive');
    await writeFile(archive, await collect(encodeCpio(sampleTree)));
    const { stdout } = await run('cpio', ['-itv', '--numeric-uid-gid', '--quiet', '-F', archive], {
      env: { ...process.env, TZ: 'UTC', LC_ALL: 'C.UTF-8' },
    });
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.replaceAll(/ +/g, ' '));
    expect(lines).toEqual([
      'drwxr-xr-x 2 0 0 0 Nov 14 2023 .',
      '-rwsr-xr-x 3 0 0 0 Nov 14 2023 a-first',
      'drwxr-xr-x 2 0 0 0 Nov 14 2023 bin',
      '-rwsr-xr-x 3 0 0 0 Nov 14 2023 bin/tool',
      '-rwsr-xr-x 3 0 0 17 Nov 14 2023 bin/zz',
      'drwxr-xr-x 2 0 0 0 Nov 14 2023 dev',
      'crw------- 1 0 0 5, 1 Nov 14 2023 dev/console',
      'brw-rw---- 1 0 6 259, 70000 Nov 14 2023 dev/nvme9n1',
      '-rw-r--r-- 1 0 0 0 Nov 14 2023 empty',
      'prw--w---- 1 1000 100000 0 Nov 14 2023 pipe',
      'drwx------ 2 4000000000 1 0 Nov 14 2023 private',
      '-rw-r-S--- 1 7 0 3 Jan 1 1970 private/odd',
      'srw-rw-rw- 1 0 0 0 Nov 14 2023 socket',
      'drwxrwxrwt 2 0 0 0 Nov 14 2023 sub',
      'drwxr-xr-x 2 0 0 0 Nov 14 2023 sub-dir',
      '-rw-r--r-- 1 0 0 9 Nov 14 2023 sub/größe €.txt',
      'lrwxrwxrwx 2 0 0 11 Nov 14 2023 sub/link -> ../bin/tool',
      'lrwxrwxrwx 2 0 0 11 Nov 14 2023 sub/link too -> ../bin/tool',
      `-rw------- 1 0 0 9 Nov 14 2023 sub/${'n'.repeat(255)}`,
    ]);
  });

  test.skipIf(!isRoot)('extracts files, links and devices as they were', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'cpio-'));
    await writeFile(join(directory.path, 'archive'), await collect(encodeCpio(sampleTree)));
    const root = join(directory.path, 'root');
    await run('sh', ['-c', 'mkdir root && cd root && cpio -idm --quiet <../archive'], {
      cwd: directory.path,
    });
    const first = await lstat(join(root, 'a-first'));
    const last = await lstat(join(root, 'bin/zz'));
    expect([first.ino, first.nlink, first.mode & 0o7777]).toEqual([last.ino, 3, 0o4755]);
    expect(await readFile(join(root, 'bin/tool'), 'utf8')).toBe('#!/bin/sh\nexit 0\n');
    expect(await readFile(join(root, `sub/${'n'.repeat(255)}`), 'utf8')).toBe('long name');
    expect(await readlink(join(root, 'sub/link too'))).toBe('../bin/tool');
    expect((await lstat(join(root, 'dev/nvme9n1'))).isBlockDevice()).toBe(true);
    expect((await lstat(join(root, 'private'))).uid).toBe(4_000_000_000);
  });
});

describe.skipIf(!has('bsdtar') && !process.env['CI'])('bsdtar', () => {
  test('reads the archive to its end', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'cpio-'));
    const archive = join(directory.path, 'archive');
    await writeFile(archive, await collect(encodeCpio(sampleTree)));
    const { stdout, stderr } = await run('bsdtar', ['-tf', archive], {
      env: { ...process.env, LC_ALL: 'C.UTF-8' },
    });
    expect(stderr).toBe('');
    expect(stdout.trimEnd().split('\n').toSorted()).toEqual(
      sampleTree.map(({ path }) => path || '.').toSorted(),
    );
  });
});
