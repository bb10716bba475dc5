/**
 * Finds partitions by their GPT names through sysfs: there is no udev, and device names differ from machine
 * to machine. Only partitions of the disk the machine was started from count, for a second disk (the old
 * card in a reader) may hold the same names. Kernel: Documentation/ABI/testing/sysfs-block.
 */
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

export interface BlockPartition {
  readonly name: string;
  /** `/dev/vda4` */
  readonly device: string;
  /** `/dev/vda` */
  readonly disk: string;
  readonly number: number;
  readonly sizeBytes: number;
  readonly diskSizeBytes: number;
  readonly majorMinor: string;
}

/** sysfs counts in 512-byte units whatever the disk's sectors are. */
const sysfsUnitBytes = 512;

/** All named partitions there are. `sys` is another directory only in tests. */
export async function listPartitions(sys = '/sys'): Promise<readonly BlockPartition[]> {
  const directory = join(sys, 'class/block');
  const names = await readdir(directory).catch(() => []);
  const found = await Promise.all(names.map((name) => readPartition(join(directory, name))));
  return found.filter((partition) => partition !== undefined);
}

async function readPartition(path: string): Promise<BlockPartition | undefined> {
  const text = await readFile(join(path, 'uevent'), 'utf8').catch(() => '');
  const values = new Map(
    text.split('\n').map((line) => {
      const equals = line.indexOf('=');
      return [line.slice(0, equals), line.slice(equals + 1)] as const;
    }),
  );
  const name = values.get('PARTNAME');
  const deviceName = values.get('DEVNAME');
  if (values.get('DEVTYPE') !== 'partition' || name === undefined || deviceName === undefined)
    return undefined;
  // /sys/devices/…/block/vda/vda4: the disk is the directory above.
  const diskPath = dirname(await realpath(path));
  const size = async (of: string): Promise<number> =>
    Number(await readFile(join(of, 'size'), 'latin1')) * sysfsUnitBytes;
  return {
    name,
    device: `/dev/${deviceName}`,
    disk: `/dev/${basename(diskPath)}`,
    number: Number(values.get('PARTN')),
    sizeBytes: await size(path),
    diskSizeBytes: await size(diskPath),
    majorMinor: `${values.get('MAJOR')}:${values.get('MINOR')}`,
  };
}

/**
 * The disk that holds the root filesystem: its partition itself, or what lies below its device-mapper
 * device (dm-verity). Undefined where root is on no disk (a namespace, tmpfs).
 */
export async function findRootDisk(
  partitions: readonly BlockPartition[],
  { root = '/', sys = '/sys' } = {},
): Promise<string | undefined> {
  const { dev } = await stat(root);
  // makedev(3) of glibc; Node gives the number as the kernel's stat(2) does.
  const majorMinor = `${Math.floor(dev / 256) % 4096}:${(dev % 256) + Math.floor(dev / 2 ** 20) * 256}`;
  const slaves = await readdir(join(sys, 'dev/block', majorMinor, 'slaves')).catch(() => []);
  const wanted = new Set([majorMinor]);
  for (const slave of slaves) {
    wanted.add((await readFile(join(sys, 'class/block', slave, 'dev'), 'latin1').catch(() => '')).trim());
  }
  return partitions.find((partition) => wanted.has(partition.majorMinor))?.disk;
}

/**
 * Chooses the partition called `name`, on the root's disk when that is known. Pure.
 * @returns undefined when there is none, or several and nothing tells them apart
 */
export function choosePartition(
  partitions: readonly BlockPartition[],
  name: string,
  rootDisk: string | undefined,
): BlockPartition | undefined {
  const named = partitions.filter((partition) => partition.name === name);
  const onDisk = rootDisk === undefined ? named : named.filter(({ disk }) => disk === rootDisk);
  return onDisk.length === 1 ? onDisk[0] : undefined;
}

/** Size of the partition as the kernel sees it now. */
export async function partitionSizeBytes({ device }: BlockPartition, sys = '/sys'): Promise<number> {
  return (
    Number(await readFile(join(sys, 'class/block', basename(device), 'size'), 'latin1')) * sysfsUnitBytes
  );
}
