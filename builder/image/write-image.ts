/**
 * Writes the image of a disk, compressed or not, and its block map beside it. It grows under another name
 * and takes its own when it is whole and on the disk, so what bears the name is never half an image.
 */
import { randomBytes } from 'node:crypto';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { flushDirectory, writeFileAtomic } from '../../appliance/base/atomic-file.ts';
import { encodeGpt } from '../../appliance/disk/gpt.ts';
import type { FatPlan } from '../formats/fat/plan.ts';
import { openImage } from '../flash/image.ts';
import { planFlash } from '../flash/plan.ts';
import { encodeBmap } from '../formats/bmap.ts';
import { writeFat32 } from '../formats/fat/write.ts';
import { encodeHybridMbr } from '../formats/mbr.ts';
import { createSparseFile, type ImageSink, sinkWindow } from '../formats/sparse-file.ts';
import type { Content } from '../formats/tree.ts';
import { type Compression, compressImage, compressions } from './compress-image.ts';
import type { DiskPlan, PlannedPartition } from './plan-disk.ts';

const sectorBytes = 512;

export interface ImageParts {
  /** For a BIOS; without it none starts from the disk. */
  readonly mbrCode?: Uint8Array | undefined;
  readonly boot: FatPlan;
  /** The squashfs of slot a; slot b and DATA stay empty. */
  readonly root: Content;
  /** Keys are on BOOT: nobody but its owner may read the file. Default false. */
  readonly holdsSecrets?: boolean;
}

export interface WrittenImage {
  readonly path: string;
  readonly mapPath: string;
  /** Undefined when it is not compressed. */
  readonly compressedBytes: number | undefined;
}

/** What bmaptool makes of every image; pages and sectors of all disks divide it. */
const mapBlockBytes = 4096;

/**
 * Writes `path`, or with compression `path` with its ending, replacing what was there once all is well. After
 * a failure or an abort nothing is left of it, and what was there before still is. Other forms of the same
 * image go: map, lock and bill of materials beside them are no longer theirs.
 * @param path ends in .img
 * @throws RangeError when the root does not fit; the system's error (ENOSPC …); what the signal was aborted with
 */
export async function writeImage(
  path: string,
  disk: DiskPlan,
  parts: ImageParts,
  signal: AbortSignal,
  compression?: Compression,
): Promise<WrittenImage> {
  if (parts.root.sizeBytes > disk.rootA.sizeBytes) {
    throw new RangeError(
      `The root has ${parts.root.sizeBytes} bytes, and its partition ${disk.rootA.sizeBytes}: leave packages out, or raise rootBytes in appliance/contract/disk-layout.ts`,
    );
  }
  signal.throwIfAborted();
  const forms = [path, ...compressions.map((ending) => `${path}.${ending}`)];
  const target = compression === undefined ? path : `${path}.${compression}`;
  const mapPath = `${path}.bmap`;
  const mode = parts.holdsSecrets === true ? 0o600 : undefined;
  // A name of its own: another build of the same image may be under way.
  const partial = `${path}.${randomBytes(6).toString('hex')}.partial`;
  const packed = compression === undefined ? partial : partial.replace(/partial$/, `${compression}.partial`);
  try {
    {
      await using file = await createSparseFile(partial, disk.sizeBytes, mode);
      await removeStalePartials(path, partial);
      await writeDisk(file, disk, parts, signal);
      await file.sync();
    }
    const map = await mapOf(partial, signal);
    if (compression !== undefined) {
      await compressImage(await openImage(partial, signal), compression, { path: packed, mode }, signal);
      await rm(partial);
    }
    const compressedBytes = compression === undefined ? undefined : (await stat(packed)).size;
    signal.throwIfAborted();
    // An image without a map is one that is checked less; a map of another image is a riddle.
    await rm(mapPath, { force: true });
    await rename(packed, target);
    // Its checksums would let a short secret of the image be guessed.
    await writeFileAtomic(mapPath, map, { mode: mode ?? 0o644 });
    for (const form of forms) if (form !== target) await rm(form, { force: true });
    await flushDirectory(dirname(path));
    return { path: target, mapPath, compressedBytes };
  } catch (error) {
    for (const part of [partial, packed]) await rm(part, { force: true });
    throw error;
  }
}

/**
 * The block map: whoever writes an image by it leaves out no more than `flash` does, so that nothing of an
 * earlier life of the disk is taken for ours.
 */
async function mapOf(path: string, signal: AbortSignal): Promise<string> {
  const { imageBytes, blocks } = await planFlash(await openImage(path, signal), signal);
  return encodeBmap({
    imageBytes,
    blockBytes: mapBlockBytes,
    ranges: blocks.map(({ offsetBytes, sizeBytes, digest }) => ({
      firstBlock: offsetBytes / mapBlockBytes,
      lastBlock: (offsetBytes + sizeBytes) / mapBlockBytes - 1,
      sha256: digest,
    })),
  });
}

/** An image takes seconds to write, minutes on a slow stick. */
const staleMs = 3_600_000;

/** Removes what builds that were killed left behind. Ages are told by the disk's own clock. */
async function removeStalePartials(path: string, own: string): Promise<void> {
  const { mtimeMs: nowMs } = await stat(own);
  const directory = dirname(path);
  for (const name of await readdir(directory)) {
    if (!name.startsWith(`${basename(path)}.`) || !name.endsWith('.partial')) continue;
    const other = join(directory, name);
    const found = await stat(other).catch(() => undefined);
    if (found !== undefined && nowMs - found.mtimeMs > staleMs) await rm(other, { force: true });
  }
}

async function writeDisk(
  sink: ImageSink,
  disk: DiskPlan,
  parts: ImageParts,
  signal: AbortSignal,
): Promise<void> {
  const { boot, rootA, rootB, data, diskGuid, diskSignature, sizeBytes } = disk;
  const fat32 = { firstSector: boot.firstSector, sectorCount: boot.sizeBytes / sectorBytes };
  const { mbrCode: bootCode } = parts;
  await sink.writeAt(0, encodeHybridMbr({ fat32, diskSignature, ...(bootCode && { bootCode }) }));
  const partitions = [boot, rootA, rootB, data];
  const { primary, backup } = encodeGpt({ diskSizeBytes: sizeBytes, diskGuid, partitions });
  for (const copy of [primary, backup]) await sink.writeAt(copy.firstSector * sectorBytes, copy.bytes);
  await writeFat32(parts.boot, partitionSink(sink, boot), signal);
  await writeContent(parts.root, partitionSink(sink, rootA), signal);
}

function partitionSink(sink: ImageSink, { startBytes, sizeBytes }: PlannedPartition): ImageSink {
  return sinkWindow(sink, startBytes, sizeBytes);
}

async function writeContent(content: Content, sink: ImageSink, signal: AbortSignal): Promise<void> {
  let position = 0;
  for await (const chunk of content.read(signal)) {
    signal.throwIfAborted();
    await sink.writeAt(position, chunk);
    position += chunk.length;
  }
  if (position !== content.sizeBytes) {
    throw new Error(`The root has ${position} bytes, not the ${content.sizeBytes} it was said to have`);
  }
}
