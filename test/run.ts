/**
 * `npm test`: installs the foreign tools the tests hold our work against, where that is possible, runs
 * every suite that can run here, and says which could not. With CI=true nothing may be left out.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import process from 'node:process';

/** A command and the Debian package that has it. */
const tools: Readonly<Record<string, string>> = {
  'bind9-dnsutils': 'dig',
  bind9: 'named',
  bsdextrautils: 'hexdump',
  cpio: 'cpio',
  dmsetup: 'dmsetup',
  dosfstools: 'fsck.fat',
  e2fsprogs: 'mke2fs',
  fdisk: 'sfdisk',
  gdisk: 'sgdisk',
  iproute2: 'ip',
  knot: 'knotd',
  mtools: 'mdir',
  'opendkim-tools': 'opendkim-testmsg',
  'pdns-server': 'pdns_server',
  postfix: 'postfix',
  'qemu-system-x86': 'qemu-system-x86_64',
  'qemu-utils': 'qemu-img',
  'squashfs-tools': 'unsquashfs',
  syslinux: 'syslinux',
  'xz-utils': 'xz',
  zstd: 'zstd',
};
/** Packages without a command of their own. */
const files: Readonly<Record<string, string>> = {
  ovmf: '/usr/share/OVMF/OVMF_CODE_4M.fd',
  'syslinux-common': '/usr/lib/syslinux/modules/bios/ldlinux.c32',
};

const ci = process.env.CI !== undefined && process.env.CI !== '';
const root = process.getuid?.() === 0;
const searchPath = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];

function isThere(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

function missingPackages(): string[] {
  const without = Object.entries(tools).filter(
    ([, tool]) => !searchPath.some((part) => isThere(join(part, tool))),
  );
  const absent = Object.entries(files).filter(([, path]) => !isThere(path));
  return [...without, ...absent].map(([debianPackage]) => debianPackage);
}

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): number {
  return spawnSync(command, args, { stdio: 'inherit', env }).status ?? 1;
}

/** Installs through apt-get as root, or with sudo where that asks no password. */
function install(packages: readonly string[]): void {
  if (!isThere('/usr/bin/apt-get')) return;
  const sudo = root ? [] : ['sudo', '-n'];
  if (!root && spawnSync('sudo', ['-n', 'true']).status !== 0) return;
  process.stderr.write(`Installing test tools: ${packages.join(' ')}\n`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const aptGet = (...args: string[]) => {
    const [command = 'apt-get', ...rest] = [...sudo, 'apt-get', '-qq', '-o', 'Dpkg::Use-Pty=0', ...args];
    return run(command, rest, env);
  };
  aptGet('update');
  aptGet('install', '-y', '--no-install-recommends', ...packages);
}

/** A mail or name server that Debian starts when it is installed would hold the ports the tests use. */
function policyKeepsServersDown(): void {
  if (!root || isThere('/usr/sbin/policy-rc.d')) return;
  spawnSync('sh', [
    '-c',
    'printf "#!/bin/sh\\nexit 101\\n" > /usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d',
  ]);
}

let missing = missingPackages();
if (missing.length > 0) {
  policyKeepsServersDown();
  install(missing);
  missing = missingPackages();
}
const projects = ['fast', 'oracle', ...(root && process.platform === 'linux' ? ['vm'] : [])];
const skipped = [
  ...(missing.length > 0 ? [`tests that need ${missing.join(', ')}`] : []),
  ...(projects.includes('vm')
    ? []
    : ['tests that boot machines or make namespaces (they need root on Linux)']),
];
if (ci && skipped.length > 0) {
  process.stderr.write(`CI may skip nothing, but these cannot run: ${skipped.join('; ')}\n`);
  process.exit(1);
}
process.stderr.write(skipped.length > 0 ? `Skipping ${skipped.join('; ')}\n` : 'Nothing is skipped\n');

const vitest = join(import.meta.dirname, '../node_modules/vitest/vitest.mjs');
const extra = process.argv.slice(2);
process.exitCode = run(
  process.execPath,
  [
    vitest,
    'run',
    ...projects.flatMap((name) => ['--project', name]),
    ...(extra.length > 0 ? extra : ['--coverage']),
  ],
  { ...process.env, PATH: searchPath.join(delimiter) },
);
