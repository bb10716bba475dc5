import { mkdir, mkdtempDisposable, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isMountPoint } from '../../../appliance/disk/mount.ts';
import { type BlockPartition, choosePartition, listPartitions } from '../../../appliance/disk/partitions.ts';

const found = (name: string, disk: string, number: number): BlockPartition => ({
  name,
  device: `${disk}${number}`,
  disk,
  number,
  sizeBytes: 1,
  diskSizeBytes: 2,
  majorMinor: '254:1',
});

describe.skipIf(process.platform === 'win32')('listPartitions', () => {
  test('reads names, sizes and the disk above from sysfs', async () => {
    await using sys = await mkdtempDisposable(join(tmpdir(), 'sys-'));
    const disk = join(sys.path, 'devices/pci/block/vda');
    await mkdir(join(disk, 'vda4'), { recursive: true });
    await mkdir(join(sys.path, 'class/block'), { recursive: true });
    await writeFile(join(disk, 'size'), '1000\n');
    await writeFile(join(disk, 'uevent'), 'MAJOR=254\nMINOR=0\nDEVNAME=vda\nDEVTYPE=disk\n');
    await writeFile(join(disk, 'vda4/size'), '100\n');
    await writeFile(
      join(disk, 'vda4/uevent'),
      'MAJOR=254\nMINOR=4\nDEVNAME=vda4\nDEVTYPE=partition\nPARTN=4\nPARTNAME=DATA\n',
    );
    await symlink(disk, join(sys.path, 'class/block/vda'));
    await symlink(join(disk, 'vda4'), join(sys.path, 'class/block/vda4'));
    expect(await listPartitions(sys.path)).toEqual([
      {
        name: 'DATA',
        device: '/dev/vda4',
        disk: '/dev/vda',
        number: 4,
        sizeBytes: 51_200,
        diskSizeBytes: 512_000,
        majorMinor: '254:4',
      },
    ]);
  });

  test('finds none where there is no sysfs', async () => {
    expect(await listPartitions('/nonexistent')).toEqual([]);
  });
});

describe('choosePartition', () => {
  const two = [found('DATA', '/dev/sda', 4), found('DATA', '/dev/sdb', 4)];

  test('takes the one on the disk the machine was started from', () => {
    expect(choosePartition(two, 'DATA', '/dev/sdb')?.device).toBe('/dev/sdb4');
  });

  test('takes none rather than a wrong one', () => {
    expect(choosePartition(two, 'DATA', undefined)).toBeUndefined();
    expect(choosePartition(two, 'DATA', '/dev/sdc')).toBeUndefined();
    expect(choosePartition(two, 'BOOT', '/dev/sda')).toBeUndefined();
  });
});

describe('isMountPoint', () => {
  const mountinfo =
    '22 1 254:2 / / ro - squashfs /dev/vda2 ro\n30 22 254:4 / /data rw - ext4 /dev/vda4 rw\n31 22 0:1 / /my\\040disk rw - tmpfs t rw\n';
  test('knows a mount point by its whole path, escapes undone', () => {
    expect(isMountPoint(mountinfo, '/data')).toBe(true);
    expect(isMountPoint(mountinfo, '/my disk')).toBe(true);
    expect(isMountPoint(mountinfo, '/dat')).toBe(false);
    expect(isMountPoint(mountinfo, '/data/x')).toBe(false);
  });
});
