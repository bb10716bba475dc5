import { chmod, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FlashError } from '../../../builder/flash/disk.ts';
import { whileOwning } from '../../../builder/flash/privilege.ts';

const refused = new FlashError('no-permission', 'You may not write to sdb', 'Ask somebody who may');
const uid = process.getuid?.() ?? 0;

/** A `sudo` that notes what it is asked, and ends with `code`. */
async function sudoStub(code: number) {
  const scratch = await mkdtempDisposable(join(tmpdir(), 'sudo-'));
  const log = join(scratch.path, 'log');
  const device = join(scratch.path, 'device');
  await writeFile(log, '');
  await writeFile(device, '');
  await writeFile(join(scratch.path, 'sudo'), `#!/bin/sh\necho "$@" >> ${log}\nexit ${code}\n`);
  await chmod(join(scratch.path, 'sudo'), 0o755);
  return {
    device,
    asked: async () => (await readFile(log, 'utf8')).trim().split('\n').filter(Boolean),
    host: { platform: 'linux' as const, env: { PATH: scratch.path } },
    [Symbol.asyncDispose]: () => scratch.remove(),
  };
}

describe.skipIf(process.platform === 'win32')('whileOwning', () => {
  const { signal } = new AbortController();

  test('owns the device while it is opened, and no longer', async () => {
    await using at = await sudoStub(0);
    const during = await whileOwning(at.device, uid, refused, at.host, signal, () => at.asked());
    expect(during).toEqual([
      `--prompt Your password, to open ${at.device} (sudo):  chown ${uid} ${at.device}`,
    ]);
    expect(await at.asked()).toEqual([...during, `--non-interactive chown ${uid} ${at.device}`]);
  });

  test('gives the device back when opening fails', async () => {
    await using at = await sudoStub(0);
    const open = () => Promise.reject(new Error('EBUSY'));
    await expect(whileOwning(at.device, uid, refused, at.host, signal, open)).rejects.toThrow('EBUSY');
    expect(await at.asked()).toHaveLength(2);
  });

  test('opens nothing when sudo says no', async () => {
    await using at = await sudoStub(1);
    let opened = false;
    const open = async () => (opened = true);
    await expect(whileOwning(at.device, uid, refused, at.host, signal, open)).rejects.toBe(refused);
    expect({ opened, asked: (await at.asked()).length }).toEqual({ opened: false, asked: 1 });
  });
});
