/**
 * The peer of the build and boot benches: Debian 13 made with mmdebstrap, started by systemd, with the same
 * Postfix and Dovecot. It is started with QEMU's -kernel, without firmware or boot loader, which is in
 * its favour.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { timeCommand } from '../bench.ts';

export interface AptSource {
  /** Base of the main archive. */
  readonly main: string;
  /** Base of the security archive. */
  readonly security: string;
}

/** Makes the peer's root with mmdebstrap. Resolves to the seconds it took. */
export function debianRoot(source: AptSource, packages: readonly string[], tarFile: string): number {
  return timeCommand('mmdebstrap', [
    '--variant=minbase',
    `--include=${packages.join(',')}`,
    'trixie',
    tarFile,
    `deb ${source.main} trixie main`,
    `deb ${source.security} trixie-security main`,
  ]);
}

export interface DebianMachine {
  readonly disk: string;
  readonly kernel: string;
  readonly initrd: string;
}

/** Turns the tar into a disk that boots with systemd, DHCP, Postfix and Dovecot. */
export async function debianMachine(tarFile: string, directory: string): Promise<DebianMachine> {
  const root = join(directory, 'root');
  await mkdir(root, { recursive: true });
  timeCommand('tar', ['-C', root, '-xf', tarFile]);
  await writeFile(
    join(root, 'etc/network/interfaces'),
    'auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n',
  );
  await writeFile(join(root, 'etc/fstab'), '/dev/vda / ext4 defaults 0 1\n');
  await writeFile(join(root, 'etc/hostname'), 'peer\n');
  await appendFile(join(root, 'etc/postfix/main.cf'), 'inet_interfaces = all\n');
  const disk = join(directory, 'disk.img');
  timeCommand('truncate', ['-s', '2G', disk]);
  timeCommand('mke2fs', ['-q', '-t', 'ext4', '-d', root, disk]);
  const boot = await readdir(join(root, 'boot'));
  const find = (prefix: string): string => {
    const name = boot.find((one) => one.startsWith(prefix));
    if (name === undefined) throw new Error(`The peer has no ${prefix}`);
    return join(root, 'boot', name);
  };
  return { disk, kernel: find('vmlinuz-'), initrd: find('initrd.img-') };
}

/** Seconds from power-on until both servers greet. */
export async function debianBootSeconds(machine: DebianMachine, memoryMb: number): Promise<number> {
  const [smtpPort, imapPort] = [22_025, 22_143];
  const started = performance.now();
  const qemu = spawn(
    'qemu-system-x86_64',
    // prettier-ignore
    [
      '-machine', 'pc', '-accel', 'tcg', '-cpu', 'max,-cx16', '-smp', '2', '-m', String(memoryMb),
      '-display', 'none', '-serial', 'null', '-monitor', 'none', '-snapshot',
      '-drive', `file=${machine.disk},format=raw,if=virtio`,
      '-nic', `user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:${smtpPort}-:25,hostfwd=tcp:127.0.0.1:${imapPort}-:143`,
      '-kernel', machine.kernel, '-initrd', machine.initrd,
      '-append', 'root=/dev/vda console=ttyS0 net.ifnames=0 quiet',
    ],
    { stdio: 'ignore' },
  );
  try {
    for (const port of [smtpPort, imapPort]) await greeting(port, started + 300_000);
    return (performance.now() - started) / 1000;
  } finally {
    const ended = once(qemu, 'exit');
    qemu.kill('SIGKILL');
    await ended;
  }
}

/** Waits until something on a loopback port sends its first bytes. */
async function greeting(port: number, deadline: number): Promise<void> {
  while (performance.now() < deadline) {
    const greeted = await new Promise<boolean>((resolve) => {
      const socket = connect({ host: '127.0.0.1', port });
      const end = (result: boolean) => {
        socket.destroy();
        resolve(result);
      };
      socket.setTimeout(5000, () => end(false));
      socket
        .once('data', () => end(true))
        .once('error', () => end(false))
        .once('end', () => end(false));
    });
    if (greeted) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`Nothing greeted on port ${port}`);
}

/** True when a command is on the path. */
export function hasCommand(command: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${command}`]).status === 0;
}
