/**
 * Debian 13 the usual way: made with mmdebstrap, mksquashfs and mtools for the build bench; started by
 * systemd with Postfix and Dovecot for the boot bench.
 */
import { appendFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { diskLayout } from '../../../appliance/contract/disk-layout.ts';
import { readAptSources } from '../../../builder/packages/apt-sources.ts';
import { chooseMirrors } from '../../../builder/packages/mirror.ts';
import { runTool } from '../bench.ts';

export const debianTools = {
  'debian-archive-keyring': '/usr/share/keyrings/debian-archive-keyring.gpg',
  mmdebstrap: 'mmdebstrap',
} as const;

/**
 * Makes a root directory of these packages and what they need, from the mirror that our own build uses.
 * @param cache where downloaded packages are kept for the next time; nothing is kept without
 */
export async function makeDebianRoot(
  root: string,
  packages: readonly string[],
  { signal, cache }: { readonly signal: AbortSignal; readonly cache?: string },
): Promise<void> {
  const mirrors = chooseMirrors(undefined, await readAptSources());
  const [main, security] = [mirrors.debian[0] ?? '', mirrors['debian-security'][0] ?? ''];
  const archives = '/var/cache/apt/archives';
  // As mmdebstrap(1) says under --skip.
  const keep =
    cache === undefined
      ? []
      : [
          '--skip=download/empty',
          '--skip=essential/unlink',
          `--setup-hook=mkdir -p "${cache}" "$1${archives}"`,
          `--setup-hook=sync-in "${cache}" ${archives}`,
          `--customize-hook=sync-out ${archives} "${cache}"`,
        ];
  await runTool(
    'mmdebstrap',
    [
      '--mode=root',
      '--variant=minbase',
      `--include=${packages.join(',')}`,
      ...keep,
      'trixie',
      root,
      `deb ${main} trixie main`,
      `deb ${main} trixie-updates main`,
      `deb ${security} trixie-security main`,
    ],
    { signal },
  );
}

/** Makes the two file systems of an image: the root as squashfs, kernel and initramfs on a FAT. */
export async function makeDebianFileSystems(
  root: string,
  directory: string,
  { signal, level }: { readonly signal: AbortSignal; readonly level: number },
): Promise<{ readonly squashfs: string; readonly boot: string }> {
  const squashfs = join(directory, 'root.squashfs');
  const boot = join(directory, 'boot.img');
  await runTool(
    'mksquashfs',
    [root, squashfs, '-noappend', '-quiet', '-comp', 'zstd', '-Xcompression-level', String(level)],
    { signal },
  );
  const { kernel, initrd } = await kernelOf(root);
  await runTool('truncate', ['-s', String(diskLayout.bootBytes), boot], { signal });
  await runTool('mkfs.fat', ['-F', '32', boot], { signal });
  await runTool('mmd', ['-i', boot, '::/a'], { signal });
  await runTool('mcopy', ['-i', boot, kernel, '::/a/vmlinuz'], { signal });
  await runTool('mcopy', ['-i', boot, initrd, '::/a/initrd'], { signal });
  return { squashfs, boot };
}

/** The kernel and the initramfs that Debian's scripts made. */
async function kernelOf(root: string): Promise<{ readonly kernel: string; readonly initrd: string }> {
  const names = await readdir(join(root, 'boot'));
  const find = (prefix: string): string => {
    const name = names.find((one) => one.startsWith(prefix));
    if (name === undefined) throw new Error(`The peer has no ${prefix}`);
    return join(root, 'boot', name);
  };
  return { kernel: find('vmlinuz-'), initrd: find('initrd.img-') };
}

export interface DebianMachine {
  readonly disk: string;
  readonly directBoot: { readonly kernel: string; readonly initrd: string; readonly commandLine: string };
}

/** Makes a disk that boots with systemd and DHCP, and serves with Debian's own configuration of both servers. */
export async function makeDebianMachine(directory: string, signal: AbortSignal): Promise<DebianMachine> {
  const root = join(directory, 'debian');
  await mkdir(root, { recursive: true });
  await makeDebianRoot(
    root,
    // prettier-ignore
    [
      'linux-image-cloud-amd64', 'systemd-sysv', 'ifupdown', 'isc-dhcp-client',
      'postfix', 'dovecot-imapd', 'dovecot-lmtpd',
    ],
    { signal },
  );
  await writeFile(
    join(root, 'etc/network/interfaces'),
    'auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n',
  );
  await writeFile(join(root, 'etc/fstab'), '/dev/vda / ext4 defaults 0 1\n');
  await writeFile(join(root, 'etc/hostname'), 'peer\n');
  await appendFile(join(root, 'etc/postfix/main.cf'), 'inet_interfaces = all\n');
  // For the console, from where it is switched off.
  const shadow = join(root, 'etc/shadow');
  await writeFile(shadow, (await readFile(shadow, 'utf8')).replace(/^root:[^:]*:/m, 'root::'));
  const disk = join(directory, 'debian.img');
  await runTool('truncate', ['-s', '2G', disk], { signal });
  await runTool('mke2fs', ['-q', '-t', 'ext4', '-d', root, disk], { signal });
  const commandLine = 'root=/dev/vda console=ttyS0 net.ifnames=0 quiet';
  return { disk, directBoot: { ...(await kernelOf(root)), commandLine } };
}
