/**
 * Is the machine well enough to take in one more account? Limits of chatmail/relay (load 5, 200 MB of
 * memory, 1 GB of disk) fitted to the machine: the load counts for each CPU, and where a whole board has
 * little more than so much memory or disk, a tenth of it is enough.
 */
import { readFile, statfs } from 'node:fs/promises';
import { availableParallelism } from 'node:os';

export interface SystemLoad {
  /** Load average of the last minute. */
  readonly load1m: number;
  readonly cpuCount: number;
  readonly memoryBytes: number;
  readonly memoryAvailableBytes: number;
  readonly diskBytes: number;
  readonly diskAvailableBytes: number;
}

export type Shortage = 'load' | 'memory' | 'disk';

const loadLimitPerCpu = 5;
const memoryReserveBytes = 200_000_000;
const diskReserveBytes = 1_000_000_000;
const smallMachineShare = 0.1;

/** What the machine lacks for a new account, or null. */
export function findShortage(load: SystemLoad): Shortage | null {
  if (load.load1m > loadLimitPerCpu * load.cpuCount) return 'load';
  const memoryLimit = Math.min(memoryReserveBytes, load.memoryBytes * smallMachineShare);
  if (load.memoryAvailableBytes < memoryLimit) return 'memory';
  const diskLimit = Math.min(diskReserveBytes, load.diskBytes * smallMachineShare);
  return load.diskAvailableBytes < diskLimit ? 'disk' : null;
}

/** Reads /proc/loadavg and /proc/meminfo (proc(5)) and the file system that holds `path`. */
export async function readSystemLoad(path: string): Promise<SystemLoad> {
  const [loadavg, meminfo, disk] = await Promise.all([
    readFile('/proc/loadavg', 'utf8'),
    readFile('/proc/meminfo', 'utf8'),
    statfs(path),
  ]);
  const memoryField = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(meminfo)?.[1] ?? 0) * 1024;
  return {
    load1m: Number.parseFloat(loadavg),
    cpuCount: availableParallelism(),
    memoryBytes: memoryField('MemTotal'),
    memoryAvailableBytes: memoryField('MemAvailable'),
    diskBytes: disk.blocks * disk.bsize,
    diskAvailableBytes: disk.bavail * disk.bsize,
  };
}
