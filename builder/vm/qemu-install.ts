/** Finds QEMU and its UEFI firmware on this host, or says how to install them. */
import { access, constants, readFile } from 'node:fs/promises';
import { posix, win32 } from 'node:path';
import { runCommand } from '../../appliance/base/run-command.ts';
import type { Architecture, Firmware } from './machine.ts';

export interface HostSystem {
  readonly platform: NodeJS.Platform;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** QEMU or its firmware is not installed; `fix` names the command that installs it here. */
export class MissingQemuError extends Error {
  override name = 'MissingQemuError';
  readonly code = 'missing-qemu';
  readonly fix: string;
  constructor(message: string, fix: string) {
    super(message);
    this.fix = fix;
  }
}

export interface Qemu {
  readonly path: string;
  /** `7.2.22`, or the whole first line where it has another form. */
  readonly version: string;
  /** As `-accel help` names them. */
  readonly accelerators: readonly string[];
}

/** Where installers put QEMU without adding it to PATH. */
const usualDirectories: Readonly<Partial<Record<NodeJS.Platform, readonly string[]>>> = {
  darwin: ['/opt/homebrew/bin', '/usr/local/bin', '/opt/local/bin'],
  linux: ['/usr/bin', '/usr/local/bin'],
  win32: ['C:\\Program Files\\qemu'],
};

/**
 * Looks on PATH, then where installers put it.
 * @throws MissingQemuError
 */
export async function findQemu(
  architecture: Architecture,
  host: HostSystem,
  signal: AbortSignal,
): Promise<Qemu> {
  const windows = host.platform === 'win32';
  const path = windows ? win32 : posix;
  const name = `qemu-system-${architecture}${windows ? '.exe' : ''}`;
  const onPath = (host.env['PATH'] ?? host.env['Path'] ?? '')
    .split(path.delimiter)
    .filter((one) => path.isAbsolute(one));
  const directories = [...onPath, ...(usualDirectories[host.platform] ?? [])];
  const found = await firstExisting(
    directories.map((directory) => path.join(directory, name)),
    constants.X_OK,
  );
  if (found === undefined) {
    throw new MissingQemuError(`${name} is not installed`, await installHint(architecture, host.platform));
  }
  const ask = async (...args: string[]) =>
    (await runCommand([found, ...args], { signal, timeoutMs: 20_000, env: definedOnly(host.env) })).stdout;
  const versionLine = (await ask('--version')).split('\n', 1)[0] ?? '';
  const help = await ask('-accel', 'help');
  return {
    path: found,
    version: /version (\d[^\s]*)/.exec(versionLine)?.[1] ?? versionLine,
    accelerators: help
      .split('\n')
      .slice(1)
      .map((line) => line.trim())
      .filter(Boolean),
  };
}

/**
 * UEFI firmware: QEMU brings its own (edk2-*), distributions have it in packages of their own.
 * Places: beside QEMU, Debian, Fedora, Arch, Alpine, openSUSE.
 */
const firmwareFiles: Readonly<Record<Architecture, readonly string[]>> = {
  x86_64: [
    '/usr/share/OVMF/OVMF_CODE_4M.fd',
    '/usr/share/OVMF/OVMF_CODE.fd',
    '/usr/share/edk2/ovmf/OVMF_CODE.fd',
    '/usr/share/edk2/x64/OVMF_CODE.4m.fd',
    '/usr/share/qemu/ovmf-x86_64-code.bin',
  ],
  aarch64: [
    '/usr/share/qemu-efi-aarch64/QEMU_EFI.fd',
    '/usr/share/AAVMF/AAVMF_CODE.fd',
    '/usr/share/edk2/aarch64/QEMU_EFI.fd',
    '/usr/share/AAVMF/QEMU_EFI.fd',
    '/usr/share/qemu/aavmf-aarch64-code.bin',
  ],
};

/**
 * Finds UEFI firmware for the machine.
 * @throws MissingQemuError
 */
export async function findUefi(architecture: Architecture, qemu: Qemu, host: HostSystem): Promise<Firmware> {
  const path = host.platform === 'win32' ? win32 : posix;
  const own = `edk2-${architecture}-code.fd`;
  const besideQemu = ['../share/qemu', 'share', '../share'].map((directory) =>
    path.resolve(path.dirname(qemu.path), directory, own),
  );
  const codePath = await firstExisting([...besideQemu, ...firmwareFiles[architecture]], constants.R_OK);
  if (codePath === undefined) {
    throw new MissingQemuError(
      `No UEFI firmware for ${architecture} virtual machines is installed`,
      host.platform === 'linux'
        ? `Install it (Debian, Ubuntu: sudo apt install ${architecture === 'x86_64' ? 'ovmf' : 'qemu-efi-aarch64'}; Fedora: sudo dnf install edk2-${architecture === 'x86_64' ? 'ovmf' : 'aarch64'})`
        : `It comes with QEMU as ${own}: install QEMU again`,
    );
  }
  return { kind: 'uefi', codePath, load: architecture === 'x86_64' ? 'pflash' : 'bios' };
}

async function firstExisting(paths: readonly string[], mode: number): Promise<string | undefined> {
  for (const path of paths) {
    const there = await access(path, mode).then(
      () => true,
      () => false,
    );
    if (there) return path;
  }
  return undefined;
}

/**
 * ID and ID_LIKE of os-release(5), and what installs QEMU there. An arm64 machine has no other firmware than
 * UEFI, which distributions package apart.
 */
const linuxHints: readonly (readonly [RegExp, Readonly<Record<Architecture, string>>])[] = [
  [
    /debian|ubuntu/,
    {
      x86_64: 'sudo apt install qemu-system-x86',
      aarch64: 'sudo apt install qemu-system-arm qemu-efi-aarch64',
    },
  ],
  [
    /fedora|rhel|centos/,
    {
      x86_64: 'sudo dnf install qemu-system-x86',
      aarch64: 'sudo dnf install qemu-system-aarch64 edk2-aarch64',
    },
  ],
  [
    /arch/,
    {
      x86_64: 'sudo pacman -S qemu-system-x86',
      aarch64: 'sudo pacman -S qemu-system-aarch64 edk2-aarch64',
    },
  ],
  [
    /suse/,
    { x86_64: 'sudo zypper install qemu-x86', aarch64: 'sudo zypper install qemu-arm qemu-uefi-aarch64' },
  ],
  [
    /alpine/,
    { x86_64: 'doas apk add qemu-system-x86_64', aarch64: 'doas apk add qemu-system-aarch64 aavmf' },
  ],
];

async function installHint(architecture: Architecture, platform: NodeJS.Platform): Promise<string> {
  if (platform === 'darwin') return 'Install it: brew install qemu';
  if (platform === 'win32') return 'Install it: winget install --id SoftwareFreedomConservancy.QEMU';
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '');
  return linuxInstallHint(architecture, release);
}

/** @param osRelease text of /etc/os-release */
export function linuxInstallHint(architecture: Architecture, osRelease: string): string {
  const ids = [...osRelease.matchAll(/^ID(?:_LIKE)?=(.*)$/gm)].map((match) => match[1]).join(' ');
  const hint = linuxHints.find(([pattern]) => pattern.test(ids))?.[1][architecture];
  return hint === undefined
    ? `Install qemu-system-${architecture} with your system's package manager (https://www.qemu.org/download/)`
    : `Install it: ${hint}`;
}

function definedOnly(env: HostSystem['env']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
