import { chmod, mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findQemu, findUefi, linuxInstallHint, MissingQemuError } from '../../../builder/vm/qemu-install.ts';

const signal = new AbortController().signal;

describe.skipIf(process.platform === 'win32')('findQemu', () => {
  test('finds QEMU on PATH and asks it what it can do', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'qemu-'));
    const program = join(directory.path, 'qemu-system-aarch64');
    await writeFile(
      program,
      '#!/bin/sh\ncase $1 in\n--version) echo "QEMU emulator version 9.2.4 (Debian 1:9.2.4)";;\n*) printf "Accelerators supported in QEMU binary:\\ntcg\\nkvm\\n";;\nesac\n',
    );
    await chmod(program, 0o755);
    const host = { platform: process.platform, env: { PATH: `relative:${directory.path}` } };
    expect(await findQemu('aarch64', host, signal)).toEqual({
      path: program,
      version: '9.2.4',
      accelerators: ['tcg', 'kvm'],
    });
  });

  test('says how to install it when it is not there', async () => {
    const missing = (platform: NodeJS.Platform) =>
      findQemu('aarch64', { platform, env: { PATH: '/nowhere' } }, signal);
    // On a host that has it where installers put it there is nothing to say.
    await expect(missing('freebsd')).rejects.toBeInstanceOf(MissingQemuError);
    await expect(missing('win32')).rejects.toMatchObject({ fix: expect.stringContaining('winget install') });
  });
});

describe('linuxInstallHint', () => {
  test.each([
    ['ID=debian\n', 'apt install qemu-system-arm qemu-efi-aarch64'],
    [
      'NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n',
      'apt install qemu-system-arm qemu-efi-aarch64',
    ],
    ['ID=fedora\n', 'dnf install qemu-system-aarch64 edk2-aarch64'],
    ['ID=arch\n', 'pacman -S qemu-system-aarch64 edk2-aarch64'],
    ['ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', 'zypper install qemu-arm qemu-uefi-aarch64'],
    ['ID=alpine\n', 'apk add qemu-system-aarch64 aavmf'],
  ])('names QEMU for arm64 and its firmware where %j', (osRelease, command) => {
    expect(linuxInstallHint('aarch64', osRelease)).toContain(command);
    expect(linuxInstallHint('x86_64', osRelease)).not.toMatch(/aarch64|arm|aavmf/);
  });

  test('names the program where it does not know the system', () => {
    expect(linuxInstallHint('aarch64', '')).toContain('qemu-system-aarch64');
  });
});

describe('findUefi', () => {
  test('prefers the firmware beside QEMU', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'uefi-'));
    const share = join(directory.path, 'share');
    await mkdir(share);
    const code = join(share, 'edk2-x86_64-code.fd');
    await writeFile(code, '');
    const qemu = { path: join(directory.path, 'qemu-system-x86_64'), version: '9', accelerators: [] };
    expect(await findUefi('x86_64', qemu, { platform: process.platform, env: {} })).toEqual({
      kind: 'uefi',
      codePath: code,
      load: 'pflash',
    });
  });

  test('gives arm64 machines firmware by -bios', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'uefi-'));
    const share = join(directory.path, 'share');
    await mkdir(share);
    const code = join(share, 'edk2-aarch64-code.fd');
    await writeFile(code, '');
    const qemu = { path: join(directory.path, 'qemu-system-aarch64'), version: '9', accelerators: [] };
    expect(await findUefi('aarch64', qemu, { platform: process.platform, env: {} })).toEqual({
      kind: 'uefi',
      codePath: code,
      load: 'bios',
    });
  });
});
