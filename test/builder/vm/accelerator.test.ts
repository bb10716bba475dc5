import { mkdtempDisposable, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { acceleratorMemory, nativeAccelerator } from '../../../builder/vm/accelerator.ts';

const qemu = { path: '/usr/bin/qemu-system-x86_64', version: '9.2.0', accelerators: ['tcg', 'hvf'] };

describe('nativeAccelerator', () => {
  const ask = (platform: NodeJS.Platform, hostArchitecture: string, accelerators = qemu.accelerators) =>
    nativeAccelerator({
      architecture: 'x86_64',
      qemu: { ...qemu, accelerators },
      host: { platform, env: {} },
      hostArchitecture,
    });

  test('is that of the operating system, where QEMU was built with it', async () => {
    expect(await ask('darwin', 'x64')).toEqual({ accelerator: 'hvf' });
    expect(await ask('win32', 'x64', ['tcg', 'whpx'])).toEqual({ accelerator: 'whpx' });
    expect(await ask('win32', 'x64')).toMatchObject({ reason: expect.stringContaining('win32') });
    expect(await ask('freebsd', 'x64')).toHaveProperty('reason');
  });

  test('is none for a foreign architecture', async () => {
    expect(await ask('darwin', 'arm64')).toMatchObject({ reason: expect.stringContaining('x86_64') });
  });
});

describe('acceleratorMemory', () => {
  test('remembers a failure for a week, for this QEMU', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'accelerator-'));
    const cache = join(directory.path, 'new');
    const at = (day: number) => () => new Date(day * 86_400_000);
    expect(await acceleratorMemory(cache, qemu, at(1)).hasFailed('kvm')).toBe(false);
    await acceleratorMemory(cache, qemu, at(1)).rememberFailure('kvm');
    expect(await acceleratorMemory(cache, qemu, at(7)).hasFailed('kvm')).toBe(true);
    expect(await acceleratorMemory(cache, qemu, at(7)).hasFailed('hvf')).toBe(false);
    expect(await acceleratorMemory(cache, { ...qemu, version: '10.0' }, at(7)).hasFailed('kvm')).toBe(false);
    expect(await acceleratorMemory(cache, qemu, at(9)).hasFailed('kvm')).toBe(false);
  });

  test('a broken file counts as none, and is replaced', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'accelerator-'));
    await writeFile(join(directory.path, 'accelerators.json'), '{"failed": {"kvm": "yes"');
    const memory = acceleratorMemory(directory.path, qemu, () => new Date());
    expect(await memory.hasFailed('kvm')).toBe(false);
    await memory.rememberFailure('kvm');
    expect(await memory.hasFailed('kvm')).toBe(true);
    expect(await readdir(directory.path)).toEqual(['accelerators.json']);
  });
});
