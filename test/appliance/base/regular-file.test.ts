import { execFileSync } from 'node:child_process';
import { mkdir, mkdtempDisposable, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readRegularFile } from '../../../appliance/base/regular-file.ts';

describe.skipIf(process.platform === 'win32')('readRegularFile', () => {
  test('reads a file up to its maximum, and tells of none', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'regular-file-'));
    const path = join(directory.path, 'a');
    expect(await readRegularFile(path, 5)).toBeUndefined();
    await writeFile(path, 'hello');
    expect(await readRegularFile(path, 5)).toBe('hello');
    await expect(readRegularFile(path, 4)).rejects.toThrow('longer than 4 bytes');
  });

  test('follows no link, waits for no FIFO, and takes no directory', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'regular-file-'));
    const [file, link, fifo, other] = ['file', 'link', 'fifo', 'directory'].map((name) =>
      join(directory.path, name),
    ) as [string, string, string, string];
    await writeFile(file, 'secret');
    await symlink(file, link);
    execFileSync('mkfifo', [fifo]);
    await mkdir(other);
    for (const path of [link, fifo, other]) await expect(readRegularFile(path, 100)).rejects.toThrow();
  });
});
