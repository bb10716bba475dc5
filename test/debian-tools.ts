/**
 * Foreign tools that tests and benches hold our work against: which Debian package brings each, what is
 * missing here, and how to get it.
 */
import { accessSync, constants, writeFileSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import process from 'node:process';
import { $ } from 'zx';

const run = $.sync({ nothrow: true, stdio: 'inherit' });

/** By Debian package: a command of it, or the path of a file. */
export type DebianTools = Readonly<Record<string, string>>;

export const isRoot = process.getuid?.() === 0;

/** PATH with the directories of administrators' commands, which a person's PATH may lack. */
export const searchPath = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'].join(
  delimiter,
);

function isThere(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** Packages whose command or file is not here. */
export function missingPackages(tools: DebianTools): string[] {
  const has = (tool: string) =>
    isAbsolute(tool)
      ? isThere(tool)
      : searchPath.split(delimiter).some((directory) => isThere(join(directory, tool)));
  return Object.entries(tools)
    .filter(([, tool]) => !has(tool))
    .map(([debianPackage]) => debianPackage);
}

/** Installs through apt-get as root, or with sudo where that asks no password; elsewhere does nothing. */
export function installPackages(packages: readonly string[]): void {
  if (!isThere('/usr/bin/apt-get')) return;
  const sudo = isRoot ? [] : ['sudo', '-n'];
  if (!isRoot && run`sudo -n true`.exitCode !== 0) return;
  keepServersDown();
  process.stderr.write(`Installing test tools: ${packages.join(' ')}\n`);
  const aptGet = [
    ...sudo,
    'env',
    'DEBIAN_FRONTEND=noninteractive',
    'apt-get',
    '-qq',
    '-o',
    'Dpkg::Use-Pty=0',
  ];
  for (const work of [['update'], ['install', '-y', '--no-install-recommends', ...packages]]) {
    if (run`${aptGet} ${work}`.exitCode !== 0) process.stderr.write(`apt-get ${work[0] ?? ''} failed\n`);
  }
}

/** A mail or name server that Debian starts when it is installed would hold the ports the tests use. */
function keepServersDown(): void {
  if (!isRoot || isThere('/usr/sbin/policy-rc.d')) return;
  writeFileSync('/usr/sbin/policy-rc.d', '#!/bin/sh\nexit 101\n', { mode: 0o755 });
}
