/** Writes a planned FAT32 volume. Source: Microsoft's FAT specification 1.03, "FAT Data Structure". */
import type { ImageSink } from '../sparse-file.ts';
import {
  backupBootSector,
  encodeFsInfo,
  fatCopies,
  firstCluster,
  mediaDescriptor,
  sectorBytes,
} from './geometry.ts';
import { clusterSector, type FatExtent, type FatPlan } from './plan.ts';

const endOfChain = 0x0fff_ffff;
/** The second entry: end of chain, with the bits "cleanly unmounted" and "no disk errors" set. */
const cleanVolume = 0x0fff_ffff;

/**
 * Writes the volume at the start of `sink`, which is as large as planned and still empty.
 * @throws Error when a file gives more or fewer bytes than planned; what the sink or the signal throws
 */
export async function writeFat32(plan: FatPlan, sink: ImageSink, signal: AbortSignal): Promise<void> {
  const { geometry, usedClusters } = plan;
  if (sink.sizeBytes < geometry.sizeSectors * sectorBytes) {
    throw new RangeError(
      `A FAT volume of ${geometry.sizeSectors} sectors does not fit ${sink.sizeBytes} bytes`,
    );
  }
  for (const extent of plan.extents) await writeExtent(plan, extent, sink, signal);

  const fat = encodeFat(plan);
  for (let copy = 0; copy < fatCopies; copy++) {
    signal.throwIfAborted();
    await sink.writeAt((geometry.reservedSectors + copy * geometry.sectorsPerFat) * sectorBytes, fat);
  }
  const fsInfo = encodeFsInfo(geometry.clusterCount - usedClusters, firstCluster + usedClusters);
  // Sector 2 is the third of the boot record, and holds no more than its signature.
  const third = new Uint8Array(sectorBytes);
  third.set([0x55, 0xaa], sectorBytes - 2);
  for (const start of [0, backupBootSector]) {
    await sink.writeAt(start * sectorBytes, Buffer.concat([plan.bootSector, fsInfo, third]));
  }
}

async function writeExtent(
  plan: FatPlan,
  extent: FatExtent,
  sink: ImageSink,
  signal: AbortSignal,
): Promise<void> {
  const { path, content } = extent;
  const start = clusterSector(plan.geometry, extent.firstCluster) * sectorBytes;
  let position = 0;
  for await (const chunk of content.read(signal)) {
    signal.throwIfAborted();
    // Checked before it is written: the next file lies right behind.
    if (position + chunk.length > content.sizeBytes) {
      throw new Error(`/${path} has more than the ${content.sizeBytes} bytes it was said to have`);
    }
    await sink.writeAt(start + position, chunk);
    position += chunk.length;
  }
  if (position !== content.sizeBytes) {
    throw new Error(`/${path} has ${position} bytes, not the ${content.sizeBytes} it was said to have`);
  }
}

/** The FAT as far as it is used; zeros, which mean free, follow. */
function encodeFat({ extents, usedClusters }: FatPlan): Uint8Array {
  const fat = new Uint8Array((firstCluster + usedClusters) * 4);
  const view = new DataView(fat.buffer);
  view.setUint32(0, (0x0fff_ff00 | mediaDescriptor) >>> 0, true);
  view.setUint32(4, cleanVolume, true);
  for (const extent of extents) {
    const last = extent.firstCluster + extent.clusterCount - 1;
    for (let cluster = extent.firstCluster; cluster <= last; cluster++) {
      view.setUint32(cluster * 4, cluster === last ? endOfChain : cluster + 1, true);
    }
  }
  return fat;
}
