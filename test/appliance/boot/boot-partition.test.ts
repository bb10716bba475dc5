import { mkdtempDisposable, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { replaceSecretFile } from '../../../appliance/boot/boot-partition.ts';

describe.skipIf(process.platform !== 'linux')('replaceSecretFile', () => {
  test('puts the new file in place and wipes the bytes of the old one', async () => {
    await using boot = await mkdtempDisposable(join(tmpdir(), 'boot-'));
    const path = join(boot.path, 'chatmail.json');
    await writeFile(path, 'the secret');
    await using old = await open(path, 'r');
    await replaceSecretFile(boot.path, path, 'clean', AbortSignal.timeout(5000));
    expect(await readFile(path, 'utf8')).toBe('clean');
    expect(await readdir(boot.path)).toEqual(['chatmail.json']);
    expect(await old.readFile('latin1')).toBe('\0'.repeat('the secret'.length));
  });

  test('leaves everything as it was when there is no file to replace', async () => {
    await using boot = await mkdtempDisposable(join(tmpdir(), 'boot-'));
    const path = join(boot.path, 'chatmail.json');
    await expect(replaceSecretFile(boot.path, path, 'x', AbortSignal.timeout(5000))).rejects.toThrow(
      'ENOENT',
    );
    expect(await readdir(boot.path)).toEqual([]);
  });
});
