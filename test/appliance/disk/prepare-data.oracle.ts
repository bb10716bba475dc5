/**
 * DATA on a real block device: loop devices, the kernel's partition code, e2fsprogs. Needs root. The
 * partition table we write is judged by sfdisk.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtempDisposable, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
import { tools } from '../../../appliance/base/tools.ts';
import { dataFormattedAttribute } from '../../../appliance/contract/disk-layout.ts';
import { dataFormattingAttribute } from '../../../appliance/disk/data-decision.ts';
import { encodeGpt, partitionTypes } from '../../../appliance/disk/gpt.ts';
import { readTable } from '../../../appliance/disk/grow.ts';
import { unmount } from '../../../appliance/disk/mount.ts';
import type { BlockPartition } from '../../../appliance/disk/partitions.ts';
import { type DataOutcome, prepareData } from '../../../appliance/disk/prepare-data.ts';

const mebibyte = 1024 * 1024;
const dataFirstSector = 4 * 2048;
const canRun =
  process.getuid?.() === 0 &&
  existsSync('/dev/loop-control') &&
  [...Object.values(tools), '/usr/sbin/losetup', '/usr/sbin/sfdisk'].every((tool) => existsSync(tool));

/** CAP_SYS_RESOURCE (bit 24), which containers withhold and EXT4_IOC_RESIZE_FS wants. */
const mayResize =
  canRun &&
  (BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0'}`) &
    (1n << 24n)) !==
    0n;

interface Disk {
  readonly loop: string;
  readonly path: string;
  find(): Promise<BlockPartition>;
  /** One boot: prepares DATA and returns what came of it. */
  boot(): Promise<DataOutcome>;
  shutDown(): Promise<void>;
  grow(sizeBytes: number): void;
  dataAttributes(): Promise<bigint>;
  write(offsetBytes: number, bytes: Uint8Array): Promise<void>;
}

async function makeDisk(attributes = 0n): Promise<Disk> {
  const temporary = await mkdtempDisposable(join(tmpdir(), 'data-'));
  const image = join(temporary.path, 'disk.img');
  const path = join(temporary.path, 'data');
  mkdirSync(path);
  const imageBytes = 24 * mebibyte;
  const { primary, backup } = encodeGpt({
    diskGuid: '12345678-0000-4000-8000-000000000000',
    diskSizeBytes: imageBytes,
    partitions: [
      ['BOOT', 1, 2048, dataFirstSector - 1, 0n] as const,
      ['DATA', 4, dataFirstSector, 22 * 2048 - 1, attributes] as const,
    ].map(([name, number, firstSector, lastSector, bits]) => ({
      name,
      number,
      firstSector,
      lastSector,
      attributes: bits,
      typeGuid: partitionTypes.linuxFilesystem,
      guid: `0000000${number}-0000-4000-8000-000000000000`,
    })),
  });
  const bytes = Buffer.alloc(imageBytes);
  // A protective MBR, without which the kernel does not look for a GPT (UEFI 2.10 §5.2.3).
  bytes.set([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 446);
  bytes.set([0x55, 0xaa], 510);
  for (const copy of [primary, backup]) bytes.set(copy.bytes, copy.firstSector * 512);
  writeFileSync(image, bytes);
  truncateSync(image, 160 * mebibyte);
  const loop = execFileSync('/usr/sbin/losetup', ['--find', '--show', '--partscan', image], {
    encoding: 'utf8',
  }).trim();
  if (!existsSync(`${loop}p4`)) {
    // A kernel without CONFIG_EFI_PARTITION: partx(8) reads the table in its place.
    execFileSync(tools.partx, ['--add', loop]);
  }
  const find = async (): Promise<BlockPartition> => {
    const name = basename(loop);
    const bytes = (path: string) =>
      Number(readFileSync(join('/sys/class/block', path, 'size'), 'latin1')) * 512;
    return {
      name: 'DATA',
      device: `${loop}p4`,
      disk: loop,
      number: 4,
      sizeBytes: bytes(`${name}p4`),
      diskSizeBytes: bytes(name),
      majorMinor: '',
    };
  };
  const signal = AbortSignal.timeout(60_000);
  const shutDown = async (): Promise<void> => {
    expect(await unmount(path, signal)).toBe('unmounted');
  };
  onTestFinished(async () => {
    await unmount(path, AbortSignal.timeout(10_000));
    execFileSync(tools.partx, ['--delete', loop]);
    execFileSync('/usr/sbin/losetup', ['--detach', loop]);
    await temporary.remove();
  });
  return {
    loop,
    path,
    find,
    boot: async () => prepareData(await find(), { path, log: silentLog, signal }),
    shutDown,
    grow: (sizeBytes) => {
      truncateSync(image, sizeBytes);
      execFileSync('/usr/sbin/losetup', ['--set-capacity', loop]);
    },
    dataAttributes: async () =>
      (await readTable(await find())).partitions.find(({ name }) => name === 'DATA')?.attributes ?? -1n,
    write: async (offsetBytes, content) => {
      await using file = await open((await find()).device, 'r+');
      await file.write(content, 0, content.length, offsetBytes);
      await file.sync();
    },
  };
}

const diskFree = (path: string): number =>
  Number(execFileSync('df', ['--output=size', '-k', path], { encoding: 'utf8' }).split('\n')[1]) * 1024;

describe.skipIf(!canRun && process.env.CI === undefined)('prepareData', () => {
  test('sets DATA up once, keeps it ever after, and grows it with its disk', async () => {
    const disk = await makeDisk();
    expect(await disk.boot()).toEqual({
      kind: 'ready',
      notes: ['The disk has been set up'],
      wasCutOff: false,
    });
    expect(await disk.dataAttributes()).toBe(dataFormattedAttribute);
    expect(diskFree(disk.path)).toBeGreaterThan(130 * mebibyte);
    expect(execFileSync('/usr/sbin/sfdisk', ['--verify', disk.loop], { encoding: 'utf8' })).toContain(
      'No errors',
    );
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .find((line) => line.includes(disk.path));
    expect(mounts).toMatch(/rw,nosuid,nodev,noexec,noatime/);
    writeFileSync(join(disk.path, 'mail'), 'kept');
    // A supervisor that starts again finds it mounted.
    expect(await disk.boot()).toEqual({ kind: 'ready', notes: [], wasCutOff: false });
    await disk.shutDown();

    expect(await disk.boot()).toEqual({ kind: 'ready', notes: [], wasCutOff: false });
    expect(readFileSync(join(disk.path, 'mail'), 'utf8')).toBe('kept');
    await disk.shutDown();

    disk.grow(400 * mebibyte);
    expect(await disk.boot()).toEqual({ kind: 'ready', notes: [], wasCutOff: false });
    expect((await disk.find()).sizeBytes).toBeGreaterThan(390 * mebibyte);
    if (mayResize) expect(diskFree(disk.path)).toBeGreaterThan(350 * mebibyte);
    expect(readFileSync(join(disk.path, 'mail'), 'utf8')).toBe('kept');
    expect(execFileSync('/usr/sbin/sfdisk', ['--verify', disk.loop], { encoding: 'utf8' })).toContain(
      'No errors',
    );
  });

  test('starts over after a power cut in the middle of formatting', async () => {
    const disk = await makeDisk(dataFormattingAttribute);
    await disk.write(4096, Buffer.alloc(65_536, 0xa5));
    expect((await disk.boot()).kind).toBe('ready');
    expect(await disk.dataAttributes()).toBe(dataFormattedAttribute);
  });

  test('saves the mail when the first superblock is gone', async () => {
    const disk = await makeDisk();
    await disk.boot();
    writeFileSync(join(disk.path, 'mail'), 'kept');
    await disk.shutDown();
    await disk.write(0, Buffer.alloc(4096));
    expect(await disk.boot()).toEqual({
      kind: 'ready',
      notes: ['The disk had errors, which were repaired'],
      wasCutOff: true,
    });
    expect(readFileSync(join(disk.path, 'mail'), 'utf8')).toBe('kept');
  });

  test('repairs what e2fsck -p would leave to a person', async () => {
    const disk = await makeDisk();
    await disk.boot();
    for (let index = 0; index < 200; index += 1) writeFileSync(join(disk.path, `mail-${index}`), `${index}`);
    await disk.shutDown();
    const { device } = await disk.find();
    // An inode that claims to be a directory and is none, behind the filesystem's back.
    execFileSync('/usr/sbin/debugfs', ['-w', '-R', 'set_inode_field /mail-7 mode 0040755', device], {
      stdio: 'pipe',
    });
    execFileSync('/usr/sbin/debugfs', ['-w', '-R', 'set_super_value state 2', device], { stdio: 'pipe' });
    expect(await disk.boot()).toMatchObject({ kind: 'ready', notes: [expect.stringContaining('repaired')] });
    expect(readFileSync(join(disk.path, 'mail-8'), 'utf8')).toBe('8');
  });

  test('touches nothing when DATA was formatted once and now holds nothing that can be read', async () => {
    const disk = await makeDisk(dataFormattedAttribute);
    const outcome = await disk.boot();
    expect(outcome).toMatchObject({ kind: 'unusable', problem: expect.stringContaining('damaged') });
    await using file = await open((await disk.find()).device, 'r');
    const bytes = Buffer.alloc(mebibyte);
    await file.read(bytes, 0, bytes.length, 0);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    expect(await disk.dataAttributes()).toBe(dataFormattedAttribute);
  });

  test('touches nothing where somebody else’s bytes are', async () => {
    const disk = await makeDisk();
    await disk.write(0, Buffer.from('LUKS\xba\xbe', 'latin1'));
    const outcome = await disk.boot();
    expect(outcome).toMatchObject({
      kind: 'unusable',
      fix: expect.stringContaining('write the image again'),
    });
    expect(await disk.dataAttributes()).toBe(0n);
  });

  test('says so when there is no DATA at all', async () => {
    const options = { path: '/nonexistent', log: silentLog, signal: AbortSignal.timeout(1000) };
    expect(await prepareData(undefined, options)).toMatchObject({ kind: 'unusable' });
  });
});
