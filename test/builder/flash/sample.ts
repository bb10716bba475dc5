/** A small image in the shape of ours, disks to flash it to, and a run of `chatmail-build flash` in this process. */
import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { encodeGpt, partitionTypes } from '../../../appliance/disk/gpt.ts';
import { type FlashWorld, runFlash } from '../../../builder/cli/commands/flash.ts';
import { reportOf } from '../../../builder/cli/errors.ts';
import type { Disk } from '../../../builder/flash/disk.ts';

export const mebibyte = 1024 * 1024;

/** In MiB from the start of the image. */
export const sampleParts = {
  BOOT: { start: 1, size: 2 },
  'ROOT-A': { start: 3, size: 8 },
  'ROOT-B': { start: 11, size: 5 },
  DATA: { start: 16, size: 5 },
} as const;
/** What of it must be written, in MiB: all of BOOT, the squashfs, the beginnings of the others, the tables. */
export const sampleWritten = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21];
export const sampleBytes = 22 * mebibyte;

/** BOOT with something in it; a squashfs of 6.5 MiB with a long run of zeros; the rest empty. */
export function sampleImage(): Buffer {
  return Buffer.from(sample);
}

function makeImage(): Buffer {
  const image = Buffer.alloc(sampleBytes);
  const at = (mib: number, bytes: Buffer) => bytes.copy(image, mib * mebibyte);
  image.writeUInt16LE(0xaa55, 510);
  at(1, randomBytes(100_000));
  at(3, randomBytes(mebibyte));
  image.writeUInt32LE(0x73717368, 3 * mebibyte);
  image.writeBigUInt64LE(BigInt(6.5 * mebibyte), 3 * mebibyte + 40);
  at(8, randomBytes(mebibyte));
  const partitions = Object.entries(sampleParts).map(([name, { start, size }], index) => ({
    number: index + 1,
    name,
    typeGuid: partitionTypes.linuxFilesystem,
    guid: `00000000-0000-4000-8000-00000000000${index + 1}`,
    firstSector: start * 2048,
    lastSector: (start + size) * 2048 - 1,
    attributes: 0n,
  }));
  const diskGuid = '00000000-0000-4000-8000-000000000000';
  const { primary, backup } = encodeGpt({ diskGuid, partitions, diskSizeBytes: sampleBytes });
  for (const { firstSector, bytes } of [primary, backup]) image.set(bytes, firstSector * 512);
  return image;
}

const sample = makeImage();

/** A stick that may be written to. */
export function stick(path: string, sizeBytes: number, change: Partial<Disk> = {}): Disk {
  return {
    name: 'sdb',
    path,
    model: 'SanDisk Ultra',
    serial: '4C53',
    sizeBytes,
    sectorBytes: 512,
    isRemovable: true,
    isSystem: false,
    isReadOnly: false,
    uses: [],
    contents: ['vfat "CAMERA" 31.9 GB'],
    partNames: ['sdb1'],
    ...change,
  };
}

export interface Run {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout as JSON lines. */
  readonly events: readonly Readonly<Record<string, unknown>>[];
}

export async function flash(
  args: readonly string[],
  world: FlashWorld,
  options: { readonly typed?: string; readonly cwd?: string; readonly signal?: AbortSignal } = {},
): Promise<Run> {
  const output = { stdout: '', stderr: '' };
  const isTTY = options.typed !== undefined;
  const sink = (name: keyof typeof output) => {
    const stream = Object.assign(new PassThrough(), { isTTY: isTTY && name === 'stderr' });
    stream.on('data', (chunk: Buffer) => (output[name] += chunk.toString()));
    return stream;
  };
  const stdin = Object.assign(new PassThrough(), { isTTY });
  if (options.typed !== undefined) stdin.write(options.typed);
  const context = {
    env: {},
    cwd: options.cwd ?? process.cwd(),
    stdin,
    stdout: sink('stdout'),
    stderr: sink('stderr'),
    signal: options.signal ?? new AbortController().signal,
    clock: () => new Date(0),
  };
  let exitCode: number;
  try {
    exitCode = await runFlash(args, context, world);
  } catch (error) {
    // As builder/cli/main.ts says it.
    const report = reportOf(error);
    exitCode = report.exitCode;
    output.stderr += `error: ${report.message}\n  fix: ${report.fix}\n`;
  }
  const events = output.stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line): Readonly<Record<string, unknown>> => JSON.parse(line));
  return { exitCode, ...output, events };
}
