import { mkdtempDisposable, readFile, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { writeRendered } from '../../../appliance/render/render.ts';

describe.skipIf(process.platform === 'win32')('writeRendered', () => {
  test('writes files that look old, and leaves alone what has not changed', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'rendered-'));
    const file = {
      path: join(directory.path, 'main.cf'),
      text: 'mail_owner = postfix\n',
      mode: 0o644,
      owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
    };
    await writeRendered([file]);
    const first = await stat(file.path);
    // Postfix waits while a file is younger than two seconds.
    expect(Date.now() - first.mtimeMs).toBeGreaterThan(86_400_000);
    await writeRendered([file]);
    expect((await stat(file.path)).ino).toBe(first.ino);
    await writeRendered([{ ...file, text: 'mail_owner = other\n' }]);
    expect(await readFile(file.path, 'utf8')).toBe('mail_owner = other\n');
  });
});
