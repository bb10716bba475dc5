/**
 * `npm test`: installs the foreign tools the tests hold our work against, where that is possible, runs
 * every suite that can run here, and says which could not. With CI=true nothing may be left out.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import process from 'node:process';
import { type DebianTools, installPackages, isRoot, missingPackages, searchPath } from './debian-tools.ts';

const tools: DebianTools = {
  'bind9-dnsutils': 'dig',
  bind9: 'named',
  'bmap-tools': 'bmaptool',
  'busybox-static': 'busybox',
  chromium: 'chromium',
  chrony: 'chronyd',
  cpio: 'cpio',
  'device-tree-compiler': 'dtc',
  dmsetup: 'dmsetup',
  dosfstools: 'fsck.fat',
  e2fsprogs: 'mke2fs',
  fdisk: 'sfdisk',
  gdisk: 'sgdisk',
  gnupg: 'gpg',
  iproute2: 'ip',
  knot: 'knotd',
  'libarchive-tools': 'bsdtar',
  mtools: 'mdir',
  nftables: 'nft',
  'pdns-server': 'pdns_server',
  postfix: 'postfix',
  'qemu-system-arm': 'qemu-system-aarch64',
  'qemu-system-x86': 'qemu-system-x86_64',
  'qemu-utils': 'qemu-img',
  sqlite3: 'sqlite3',
  'squashfs-tools': 'unsquashfs',
  sslscan: 'sslscan',
  syslinux: 'syslinux',
  unbound: 'unbound',
  wpasupplicant: 'wpa_supplicant',
  'xz-utils': 'xz',
  'zbar-tools': 'zbarimg',
  zstd: 'zstd',
  // Packages without a command of their own.
  'pdns-backend-sqlite3': `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/pdns/libgsqlite3backend.so`,
  'python3-dkim': '/usr/lib/python3/dist-packages/dkim/__init__.py',
  'qemu-efi-aarch64': '/usr/share/qemu-efi-aarch64/QEMU_EFI.fd',
  ovmf: '/usr/share/OVMF/OVMF_CODE_4M.fd',
  'syslinux-common': '/usr/lib/syslinux/modules/bios/ldlinux.c32',
};

const ci = process.env.CI !== undefined && process.env.CI !== '';

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): number {
  return spawnSync(command, args, { stdio: 'inherit', env }).status ?? 1;
}

let missing = missingPackages(tools);
if (missing.length > 0) {
  installPackages(missing);
  missing = missingPackages(tools);
}
const projects = ['fast', 'oracle', ...(isRoot && process.platform === 'linux' ? ['vm'] : [])];
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
  { ...process.env, PATH: searchPath },
);
