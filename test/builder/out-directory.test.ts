import { chmod, mkdtempDisposable, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { explainingWrites, prepareOutDirectory } from '../../builder/out-directory.ts';

const systemError = (code: string) => Object.assign(new Error(`${code}: what a disk says`), { code });

describe('prepareOutDirectory', () => {
  test('makes it with its parents, and leaves nothing in it', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'out-'));
    const directory = join(scratch.path, 'a b/ö/c');
    await prepareOutDirectory(directory);
    await prepareOutDirectory(directory);
    expect(await readdir(directory)).toEqual([]);
  });

  test.each(['file', 'file/below', 'file/far/below'])('%s: a file in the way is named', async (path) => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'out-'));
    await writeFile(join(scratch.path, 'file'), '');
    await expect(prepareOutDirectory(join(scratch.path, path))).rejects.toMatchObject({
      name: 'ConfigError',
      message: `The image cannot go to ${join(scratch.path, path)}: a file is in the way`,
    });
  });
});

describe.skipIf(process.platform === 'win32')('a directory of somebody else', () => {
  test('is named, with what to do', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'out-'));
    await chmod(scratch.path, 0o555);
    const isRoot = process.geteuid?.() === 0;
    // Root may write anywhere.
    if (isRoot) process.seteuid?.(65_534);
    try {
      await expect(prepareOutDirectory(join(scratch.path, 'out'))).rejects.toMatchObject({
        code: 'not-writable',
        message: `The image cannot go to ${join(scratch.path, 'out')}: you may not write there`,
      });
    } finally {
      if (isRoot) process.seteuid?.(0);
      await chmod(scratch.path, 0o755);
    }
  });
});

describe('explainingWrites', () => {
  test.each([
    ['EACCES', 'not-writable', 'you may not write there'],
    ['EROFS', 'not-writable', 'the disk is read-only'],
    ['ENOSPC', 'disk-full', 'the disk is full'],
    ['EDQUOT', 'disk-full', 'the disk is full'],
  ])('%s is told as %s', async (system, code, why) => {
    const cause = systemError(system);
    const failing = explainingWrites('/images', () => Promise.reject(cause));
    await expect(failing).rejects.toMatchObject({
      code,
      message: `The image cannot go to /images: ${why}`,
      fix: expect.stringContaining('--out'),
      cause,
    });
  });

  test('what is none of the disk’s is passed on', async () => {
    const error = systemError('ECONNREFUSED');
    await expect(explainingWrites('/images', () => Promise.reject(error))).rejects.toBe(error);
  });
});
