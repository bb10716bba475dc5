/**
 * Flashing to real block devices: loop devices, one of them on a filesystem that fills up midway, so that
 * the kernel itself reports the failure. An image of the product's own making is judged by the kernel's
 * idea of what is on the disk, and other tools' (blkid, sfdisk, fsck.fat, mtools, cmp). Needs root.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtempDisposable, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { FlashWorld } from '../../../builder/cli/commands/flash.ts';
import { openBlockDevice } from '../../../builder/flash/block-device.ts';
import type { Disk } from '../../../builder/flash/disk.ts';
import { listDisks } from '../../../builder/flash/list-disks.ts';
import { bytesContent, textContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import { planBootPartition } from '../../../builder/image/boot-partition.ts';
import { planDisk } from '../../../builder/image/plan-disk.ts';
import { writeImage } from '../../../builder/image/write-image.ts';
import { flash, mebibyte, sampleBytes, sampleImage, stick } from './sample.ts';

const tools = {
  losetup: '/usr/sbin/losetup',
  lsblk: '/usr/bin/lsblk',
  sfdisk: '/usr/sbin/sfdisk',
  'fsck.fat': '/usr/sbin/fsck.fat',
  'mkfs.ext4': '/usr/sbin/mkfs.ext4',
  blkid: '/usr/sbin/blkid',
  mount: '/usr/bin/mount',
  umount: '/usr/bin/umount',
  cmp: '/usr/bin/cmp',
  mcopy: '/usr/bin/mcopy',
} as const;
const canRun =
  process.getuid?.() === 0 &&
  existsSync('/dev/loop-control') &&
  Object.values(tools).every((tool) => existsSync(tool));

const run = (tool: keyof typeof tools, ...args: string[]): string =>
  execFileSync(tools[tool], args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

interface LoopDisk extends AsyncDisposable {
  readonly directory: string;
  readonly backing: string;
  readonly disk: Disk;
  world(change?: Partial<FlashWorld>): FlashWorld;
}

/** @param on where the backing file lies: a directory of its own unless given */
async function loopDisk(sizeBytes: number, flags: readonly string[] = [], on?: string): Promise<LoopDisk> {
  const scratch = await mkdtempDisposable(join(tmpdir(), 'flash-'));
  const backing = join(on ?? scratch.path, 'backing');
  await writeFile(backing, '');
  await truncate(backing, sizeBytes);
  const path = run('losetup', '--find', '--show', ...flags, backing).trim();
  // A loop device is nothing that lsblk would call removable; its size is what the kernel says.
  const listed: { blockdevices: { size: number; ro: boolean }[] } = JSON.parse(
    run('lsblk', '--json', '--bytes', '--output', 'SIZE,RO', path),
  );
  const disk = stick(path, listed.blockdevices[0]?.size ?? 0, {
    name: path.replace('/dev/', ''),
    isReadOnly: listed.blockdevices[0]?.ro ?? false,
  });
  return {
    directory: scratch.path,
    backing,
    disk,
    world: (change = {}) => ({
      platform: 'linux',
      listDisks: async () => [disk],
      openDevice: (one) => openBlockDevice(one, 'linux'),
      eject: async () => true,
      ...change,
    }),
    async [Symbol.asyncDispose]() {
      run('losetup', '--detach', path);
      await scratch.remove();
    },
  };
}

async function sampleFile(directory: string): Promise<string> {
  const path = join(directory, 'chat.example.org-vm-x86_64.img');
  await writeFile(path, sampleImage());
  return path;
}

const isWiped = async ({ disk }: LoopDisk): Promise<boolean> => {
  await using file = await open(disk.path, 'r');
  const { buffer } = await file.read(Buffer.alloc(mebibyte), 0, mebibyte, 0);
  return buffer.equals(Buffer.alloc(mebibyte));
};

describe.skipIf(!canRun && !process.env.CI)('flash, on loop devices,', () => {
  test('writes a built image over a disk in use before: its table and boot filesystem are sound, nothing old is found', async () => {
    const plan = planDisk('chat.example.org');
    await using at = await loopDisk(2048 * mebibyte);
    // An ext4 over the whole disk, and one exactly where DATA will begin.
    run('mkfs.ext4', '-q', '-F', at.disk.path);
    run('mkfs.ext4', '-q', '-F', '-E', `offset=${plan.data.startBytes}`, at.disk.path, '64M');
    expect(run('blkid', '-p', '-O', String(plan.data.startBytes), at.disk.path)).toContain('ext4');

    const image = join(at.directory, 'chat.example.org-vm-x86_64.img');
    const file = (path: string, text: string): TreeEntry => ({
      path,
      kind: 'file',
      mode: 0o644,
      uid: 0,
      gid: 0,
      mtimeSec: 0,
      content: textContent(text),
    });
    // A file with two MiB of zeros in its middle: a hole of the image that is no hole of the disk.
    const kernel = Buffer.concat([randomBytes(mebibyte), Buffer.alloc(3 * mebibyte), randomBytes(5000)]);
    const entries: TreeEntry[] = [
      file('chatmail.json', '{}'),
      { ...file('vmlinuz', ''), kind: 'file', content: bytesContent(kernel) },
    ];
    const parts = {
      boot: planBootPartition(entries, plan),
      root: bytesContent(randomBytes(3 * mebibyte)),
    };
    await writeImage(image, plan, parts, new AbortController().signal);

    const { exitCode, events, stderr } = await flash([image, at.disk.name, '--yes', '--json'], at.world());
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(events.at(-1)).toMatchObject({ event: 'flashed', ejected: true });
    // Of 1.4 GB only what matters.
    expect(Number(events.at(-1)?.writtenBytes)).toBeGreaterThan(15 * mebibyte);
    expect(Number(events.at(-1)?.writtenBytes)).toBeLessThan(600 * mebibyte);

    const table: { partitiontable: { partitions: { name: string }[] } } = JSON.parse(
      run('sfdisk', '--json', at.disk.path),
    );
    expect(table.partitiontable.partitions.map(({ name }) => name)).toEqual([
      'BOOT',
      'ROOT-A',
      'ROOT-B',
      'DATA',
    ]);
    const compare = (startBytes: number, sizeBytes: number) =>
      run('cmp', `--ignore-initial=${startBytes}`, `--bytes=${sizeBytes}`, image, at.disk.path);
    compare(0, plan.boot.startBytes);
    compare(plan.rootA.startBytes, 4 * mebibyte);
    for (const { startBytes } of [plan.rootB, plan.data]) {
      compare(startBytes, 4 * mebibyte);
      // 2: nothing found.
      expect(spawnSync(tools.blkid, ['-p', '-O', String(startBytes), at.disk.path]).status).toBe(2);
    }
    const boot = run(
      'losetup',
      '--find',
      '--show',
      '--read-only',
      `--offset=${plan.boot.startBytes}`,
      `--sizelimit=${plan.boot.sizeBytes}`,
      at.backing,
    ).trim();
    try {
      run('fsck.fat', '-n', boot);
      const copy = join(at.directory, 'vmlinuz');
      run('mcopy', '-i', boot, '::vmlinuz', copy);
      expect((await readFile(copy)).equals(kernel)).toBe(true);
    } finally {
      run('losetup', '--detach', boot);
    }
  });

  test('reports a disk that fails midway, and leaves it without a table', async () => {
    await using full = await mkdtempDisposable(join(tmpdir(), 'flash-full-'));
    run('mount', '-t', 'tmpfs', '-o', 'size=10M', 'flash-test', full.path);
    try {
      await using at = await loopDisk(40 * mebibyte, [], full.path);
      const { exitCode, stderr } = await flash(
        [await sampleFile(at.directory), at.disk.name, '--yes'],
        at.world(),
      );
      expect({ exitCode, stderr }).toMatchObject({
        exitCode: 1,
        stderr: expect.stringMatching(/failed to write at byte \d+: .*\n {2}fix: Use another card or stick/),
      });
      expect(await isWiped(at)).toBe(true);
    } finally {
      run('umount', '--lazy', full.path);
    }
  });

  test('finds what the disk lost silently, past the cache', async () => {
    await using at = await loopDisk(40 * mebibyte);
    let flushes = 0;
    const openDevice = async (disk: Disk) => {
      const real = await openBlockDevice(disk, 'linux');
      return {
        ...real,
        async flush() {
          await real.flush();
          // After the second block of ROOT-A is on the medium, the medium changes behind the kernel's back.
          if (++flushes !== 3) return;
          await using backing = await open(at.backing, 'r+');
          await backing.write(Uint8Array.of(1), 0, 1, 8 * mebibyte + 12_345);
          await backing.sync();
        },
        [Symbol.asyncDispose]: () => real[Symbol.asyncDispose](),
      };
    };
    const { exitCode, stderr } = await flash(
      [await sampleFile(at.directory), at.disk.name, '--yes'],
      at.world({ openDevice }),
    );
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining(
        `does not hold what was written to it, at byte ${8 * mebibyte} and after`,
      ),
    });
  });

  test('reports a disk that vanishes', async () => {
    await using at = await loopDisk(40 * mebibyte);
    const link = join(at.directory, 'stick');
    const disk = { ...at.disk, path: link };
    // What udev does with the name of a disk that is pulled; the driver then answers with EIO.
    execFileSync('/usr/bin/ln', ['-s', at.disk.path, link]);
    const openDevice = async () => {
      const real = await openBlockDevice(disk, 'linux');
      return {
        ...real,
        async writeAt(offsetBytes: number, bytes: Uint8Array) {
          if (offsetBytes === 7 * mebibyte) {
            await rm(link);
            throw Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO' });
          }
          await real.writeAt(offsetBytes, bytes);
        },
        [Symbol.asyncDispose]: () => real[Symbol.asyncDispose](),
      };
    };
    const world = at.world({ listDisks: async () => [disk], openDevice });
    const { exitCode, stderr } = await flash([await sampleFile(at.directory), disk.name, '--yes'], world);
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining(`went away at byte ${7 * mebibyte}`),
    });
    expect(await isWiped(at)).toBe(true);
  });

  test('takes a disk of the very size of the image, and none that is a byte short', async () => {
    await using fitting = await loopDisk(sampleBytes);
    const image = await sampleFile(fitting.directory);
    expect(await flash([image, fitting.disk.name, '--yes'], fitting.world())).toMatchObject({ exitCode: 0 });

    await using short = await loopDisk(sampleBytes - 1);
    expect(await flash([image, short.disk.name, '--yes'], short.world())).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining(`and the image needs ${sampleBytes}`),
    });
  });

  test('is refused a read-only disk and a mounted one by the kernel too, should the list not say so', async () => {
    await using locked = await loopDisk(40 * mebibyte, ['--read-only']);
    const image = await sampleFile(locked.directory);
    expect(locked.disk.isReadOnly).toBe(true);
    for (const isReadOnly of [true, false]) {
      const world = locked.world({ listDisks: async () => [{ ...locked.disk, isReadOnly }] });
      expect(await flash([image, locked.disk.name, '--yes'], world)).toMatchObject({
        exitCode: 1,
        stderr: expect.stringMatching(/is write-protected|lets nobody write to it/),
      });
    }

    await using mounted = await loopDisk(40 * mebibyte);
    run('mkfs.ext4', '-q', mounted.disk.path);
    const mountPoint = join(mounted.directory, 'mnt');
    await mkdir(mountPoint);
    run('mount', mounted.disk.path, mountPoint);
    try {
      expect(await flash([image, mounted.disk.name, '--yes'], mounted.world())).toMatchObject({
        exitCode: 1,
        stderr: expect.stringContaining('is in use by another program, or something on it is mounted'),
      });
    } finally {
      run('umount', mountPoint);
    }
    expect(run('blkid', '-p', mounted.disk.path)).toContain('ext4');
  });

  test('says how to get the right to open a disk, when it is missing', async () => {
    await using at = await loopDisk(mebibyte);
    await chmod(at.disk.path, 0o600);
    const source = pathToFileURL(resolve('builder/flash/block-device.ts')).href;
    const program = `
      const { openBlockDevice } = await import(${JSON.stringify(source)});
      await openBlockDevice(${JSON.stringify(at.disk)}, 'linux').catch((error) => console.log(JSON.stringify(error)));`;
    const nobody = 65_534;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
      uid: nobody,
      gid: nobody,
      encoding: 'utf8',
    });
    expect({ stdout, stderr }).toMatchObject({ stdout: expect.stringContaining('"no-permission"') });
    expect(stdout).toContain(`sudo chown \\"$USER\\" ${at.disk.path}`);
  });

  test('knows the disks of this machine, and offers none of its own', async () => {
    const { signal } = new AbortController();
    const disks = await listDisks({ platform: 'linux', env: process.env }, signal);
    const names = run('lsblk', '--nodeps', '--noheadings', '--output', 'NAME').split(/\s+/);
    for (const { name, sizeBytes } of disks) {
      expect(names).toContain(name);
      expect(sizeBytes).toBeGreaterThan(0);
    }
    for (const { uses, isSystem } of disks) if (uses.includes('/')) expect(isSystem).toBe(true);
  });
});
