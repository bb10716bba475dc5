/**
 * Reads a file in the root directory of a FAT32 volume, and plans other content for it. The volume itself is
 * only read: what has to change comes back as bytes and places, so that it can be changed while it is copied.
 * Knows nothing of other directories, FAT12 and FAT16. Source: Microsoft's FAT specification 1.03.
 */
import type { Source } from '../random-access.ts';
import { direntBytes, fatAttributes } from './directory.ts';
import { backupBootSector, fatCopies, firstCluster, sectorBytes } from './geometry.ts';

/** Bytes that take the place of those at an offset. */
export interface BytePatch {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

interface Volume {
  readonly clusterBytes: number;
  readonly fatStartBytes: readonly number[];
  readonly fatBytes: number;
  readonly dataStartBytes: number;
  readonly clusterCount: number;
  readonly rootCluster: number;
  readonly fsInfoSector: number;
  /** The first copy. */
  readonly fat: DataView;
}

interface FoundFile {
  readonly volume: Volume;
  /** Of the 32 bytes with the short name, on the volume. */
  readonly direntOffsetBytes: number;
  readonly sizeBytes: number;
  readonly chain: readonly number[];
}

/** BOOT has 288 KiB of it; what claims more than this is no volume of ours. */
const maxFatBytes = 4 * 1024 * 1024;
/** FAT specification 1.03: 65,536 entries. */
const maxDirectoryBytes = 65_536 * direntBytes;
/** The upper four bits of an entry are reserved. */
const clusterMask = 0x0fff_ffff;
const endOfChain = 0x0fff_fff8;

/**
 * The content of a file in the root directory.
 * @param name compared without regard to case
 * @returns undefined when there is none
 * @throws RangeError when it is larger than `maxBytes`, or the volume makes no sense
 */
export async function readRootFile(
  source: Source,
  name: string,
  maxBytes: number,
  signal?: AbortSignal,
): Promise<Uint8Array | undefined> {
  const found = await findFile(source, name, signal);
  if (found === undefined) return undefined;
  const { volume, chain, sizeBytes } = found;
  if (sizeBytes > maxBytes) throw new RangeError(`${name} has ${sizeBytes} bytes, more than ${maxBytes}`);
  return (await readChain(source, volume, chain, signal)).subarray(0, sizeBytes);
}

/**
 * What has to change on the volume so that the file has this content. Clusters it no longer needs are
 * cleared.
 * @param content at least one byte
 * @returns undefined when there is no such file
 * @throws RangeError when it does not fit, or the volume makes no sense
 */
export async function planRootFile(
  source: Source,
  name: string,
  content: Uint8Array,
  signal?: AbortSignal,
): Promise<readonly BytePatch[] | undefined> {
  const found = await findFile(source, name, signal);
  if (found === undefined) return undefined;
  if (content.length === 0) throw new RangeError(`${name} may not become empty`);
  const { volume, chain: old } = found;
  const count = Math.ceil(content.length / volume.clusterBytes);
  const kept = old.slice(0, count);
  const chain = [...kept, ...freeClusters(volume, count - kept.length)];
  const dropped = old.slice(count);
  const entries = new Map<number, number>(dropped.map((cluster) => [cluster, 0]));
  for (const [index, cluster] of chain.entries()) entries.set(cluster, chain[index + 1] ?? clusterMask);

  const patches: BytePatch[] = chain.map((cluster, index) => {
    const bytes = new Uint8Array(volume.clusterBytes);
    bytes.set(content.subarray(index * volume.clusterBytes, (index + 1) * volume.clusterBytes));
    return { offsetBytes: clusterOffset(volume, cluster), bytes };
  });
  for (const cluster of dropped) {
    const bytes = new Uint8Array(volume.clusterBytes);
    patches.push({ offsetBytes: clusterOffset(volume, cluster), bytes });
  }
  for (const [cluster, next] of entries) {
    const before = volume.fat.getUint32(cluster * 4, true);
    const after = ((before & ~clusterMask) | next) >>> 0;
    if (after === before) continue;
    for (const start of volume.fatStartBytes) {
      patches.push({ offsetBytes: start + cluster * 4, bytes: littleEndian(after, 4) });
    }
  }
  const at = found.direntOffsetBytes;
  const first = chain[0] ?? 0;
  patches.push(
    { offsetBytes: at + 20, bytes: littleEndian(first >>> 16, 2) },
    { offsetBytes: at + 26, bytes: littleEndian(first & 0xffff, 2) },
    { offsetBytes: at + 28, bytes: littleEndian(content.length, 4) },
  );
  if (chain.length !== old.length) {
    patches.push(...(await freeCountPatches(source, volume, old.length - chain.length, signal)));
  }
  return patches;
}

async function readVolume(source: Source, signal: AbortSignal | undefined): Promise<Volume> {
  const strange = (what: string) => new RangeError(`${source.name} is no FAT32 volume: ${what}`);
  if (source.sizeBytes < sectorBytes) throw strange('it is too short');
  const boot = view(await source.readAt(0, sectorBytes, signal));
  const type = Buffer.from(boot.buffer, boot.byteOffset + 82, 8).toString('latin1');
  const clusterBytes = boot.getUint8(13) * sectorBytes;
  const fatBytes = boot.getUint32(36, true) * sectorBytes;
  const reservedBytes = boot.getUint16(14, true) * sectorBytes;
  const volumeBytes = boot.getUint32(32, true) * sectorBytes;
  const dataStartBytes = reservedBytes + fatCopies * fatBytes;
  if (type !== 'FAT32   ' || boot.getUint16(11, true) !== sectorBytes) throw strange('it says so');
  if (boot.getUint8(16) !== fatCopies) throw strange(`it has ${boot.getUint8(16)} tables`);
  if (clusterBytes === 0 || fatBytes === 0 || fatBytes > maxFatBytes)
    throw strange('its sizes are senseless');
  const clusterCount = Math.floor((volumeBytes - dataStartBytes) / clusterBytes);
  if (volumeBytes > source.sizeBytes || (clusterCount + firstCluster) * 4 > fatBytes || clusterCount < 1) {
    throw strange('its sizes are senseless');
  }
  return {
    clusterBytes,
    fatStartBytes: [reservedBytes, reservedBytes + fatBytes],
    fatBytes,
    dataStartBytes,
    clusterCount,
    rootCluster: boot.getUint32(44, true),
    fsInfoSector: boot.getUint16(48, true),
    fat: view(await source.readAt(reservedBytes, fatBytes, signal)),
  };
}

async function findFile(
  source: Source,
  name: string,
  signal: AbortSignal | undefined,
): Promise<FoundFile | undefined> {
  const volume = await readVolume(source, signal);
  const rootChain = followChain(volume, volume.rootCluster, maxDirectoryBytes);
  const root = view(await readChain(source, volume, rootChain, signal));
  let longName = '';
  for (let at = 0; at + direntBytes <= root.byteLength; at += direntBytes) {
    const first = root.getUint8(at);
    if (first === 0) return undefined;
    const attributes = root.getUint8(at + 11);
    if (first === 0xe5) {
      longName = '';
    } else if ((attributes & 0x3f) === 0x0f) {
      // Long names stand before their entry, the last part first.
      longName = readLongName(root, at) + (first & 0x40 ? '' : longName);
    } else {
      const isFile = (attributes & (fatAttributes.directory | fatAttributes.volumeLabel)) === 0;
      const names = [longName, readShortName(root, at)].map((text) => text.toLowerCase());
      longName = '';
      if (!isFile || !names.includes(name.toLowerCase())) continue;
      const cluster = root.getUint16(at + 20, true) * 0x1_0000 + root.getUint16(at + 26, true);
      const sizeBytes = root.getUint32(at + 28, true);
      const rootCluster = rootChain[Math.floor(at / volume.clusterBytes)] ?? 0;
      const chain =
        cluster === 0 ? [] : followChain(volume, cluster, volume.clusterCount * volume.clusterBytes);
      if (chain.length * volume.clusterBytes < sizeBytes) throw new RangeError(`${name} has no end`);
      return {
        volume,
        direntOffsetBytes: clusterOffset(volume, rootCluster) + (at % volume.clusterBytes),
        sizeBytes,
        chain,
      };
    }
  }
  return undefined;
}

/** The 13 UTF-16 units of a long entry, up to the zero. */
function readLongName(directory: DataView, at: number): string {
  const offsets = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
  const units = offsets.map((offset) => directory.getUint16(at + offset, true));
  const end = units.indexOf(0);
  return String.fromCharCode(...(end < 0 ? units : units.slice(0, end)));
}

function readShortName(directory: DataView, at: number): string {
  const text = Buffer.from(directory.buffer, directory.byteOffset + at, 11).toString('latin1');
  const [name, extension] = [text.slice(0, 8).trimEnd(), text.slice(8).trimEnd()];
  return extension === '' ? name : `${name}.${extension}`;
}

function followChain(volume: Volume, start: number, maxBytes: number): number[] {
  const chain: number[] = [];
  for (let cluster = start; cluster < endOfChain;) {
    const isInside = cluster >= firstCluster && cluster < firstCluster + volume.clusterCount;
    if (!isInside || chain.length * volume.clusterBytes >= maxBytes) {
      throw new RangeError('A chain of clusters on the FAT volume leads nowhere');
    }
    chain.push(cluster);
    cluster = volume.fat.getUint32(cluster * 4, true) & clusterMask;
  }
  return chain;
}

function freeClusters(volume: Volume, count: number): number[] {
  const free: number[] = [];
  for (let cluster = firstCluster; free.length < count; cluster++) {
    if (cluster >= firstCluster + volume.clusterCount) throw new RangeError('The FAT volume is full');
    if ((volume.fat.getUint32(cluster * 4, true) & clusterMask) === 0) free.push(cluster);
  }
  return free;
}

async function readChain(
  source: Source,
  volume: Volume,
  chain: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(chain.length * volume.clusterBytes);
  for (const [index, cluster] of chain.entries()) {
    const part = await source.readAt(clusterOffset(volume, cluster), volume.clusterBytes, signal);
    bytes.set(part, index * volume.clusterBytes);
  }
  return bytes;
}

/** FSInfo counts the free clusters at offset 488, for those who believe it; its signatures are at 0 and 484. */
async function freeCountPatches(
  source: Source,
  { fsInfoSector }: Volume,
  change: number,
  signal: AbortSignal | undefined,
): Promise<readonly BytePatch[]> {
  const patches: BytePatch[] = [];
  for (const sector of [fsInfoSector, backupBootSector + fsInfoSector]) {
    const info = view(await source.readAt(sector * sectorBytes, sectorBytes, signal));
    const isInfo = info.getUint32(0, true) === 0x4161_5252 && info.getUint32(484, true) === 0x6141_7272;
    const count = info.getUint32(488, true);
    if (!isInfo || count === 0xffff_ffff) continue;
    patches.push({ offsetBytes: sector * sectorBytes + 488, bytes: littleEndian(count + change, 4) });
  }
  return patches;
}

function clusterOffset(volume: Volume, cluster: number): number {
  return volume.dataStartBytes + (cluster - firstCluster) * volume.clusterBytes;
}

function littleEndian(value: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (value >>> (8 * index)) & 0xff);
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
