import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createDiskFlush } from '../../../appliance/accounts/disk-flush.ts';

describe('createDiskFlush', () => {
  test('serves all who ask while one flush runs with one more', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'flush-'));
    try {
      const path = join(directory, 'file');
      await writeFile(path, 'x');
      const flush = createDiskFlush(path);
      const first = flush();
      await Promise.resolve();
      const [second, third] = [flush(), flush()];
      expect(second).not.toBe(first);
      expect(third).toBe(second);
      await Promise.all([first, second]);
      await flush();
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test('fails for everybody when the file is gone, and works again when it is back', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'flush-'));
    try {
      const path = join(directory, 'file');
      const flush = createDiskFlush(path);
      await expect(flush()).rejects.toThrow('ENOENT');
      await writeFile(path, 'x');
      await flush();
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
