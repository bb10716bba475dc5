/**
 * A small FAT32 reader for tests, written from the specification's point of view of a reader: it shares
 * nothing with the writer, follows chains in the FAT, and checks what a strict reader could.
 */

export interface VolumeEntry {
  readonly path: string;
  /** The short name as a person would write it. */
  readonly short: string;
  readonly attributes: number;
  readonly date: number;
  readonly time: number;
  /** Undefined for directories. */
  readonly bytes: Uint8Array | undefined;
}

export interface Volume {
  readonly label: string;
  readonly clusterCount: number;
  readonly freeClusters: number;
  readonly entries: readonly VolumeEntry[];
}

export function readVolume(image: Uint8Array): Volume {
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const clusterBytes = view.getUint8(13) * 512;
  const reserved = view.getUint16(14, true);
  const fatSectors = view.getUint32(36, true);
  const fatStart = reserved * 512;
  const dataStart = (reserved + 2 * fatSectors) * 512;
  const clusterCount = Math.floor((view.getUint32(32, true) * 512 - dataStart) / clusterBytes);
  const fat = (copy: number, cluster: number): number =>
    view.getUint32(fatStart + copy * fatSectors * 512 + cluster * 4, true) & 0x0fff_ffff;
  const seen = new Set<number>();

  const chain = (first: number): Uint8Array => {
    const parts: Uint8Array[] = [];
    for (let cluster = first; cluster < 0x0fff_fff8; cluster = fat(0, cluster)) {
      if (cluster < 2 || cluster >= clusterCount + 2) throw new Error(`Cluster ${cluster} does not exist`);
      if (seen.has(cluster)) throw new Error(`Cluster ${cluster} belongs to two files`);
      if (fat(0, cluster) !== fat(1, cluster)) throw new Error(`The FATs differ at ${cluster}`);
      seen.add(cluster);
      const start = dataStart + (cluster - 2) * clusterBytes;
      parts.push(image.subarray(start, start + clusterBytes));
    }
    return Buffer.concat(parts);
  };

  let label = '';
  const entries: VolumeEntry[] = [];
  const readDirectory = (directory: string, bytes: Uint8Array, own: number, parent: number): void => {
    const table = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let long: { text: string; next: number; checksum: number } | undefined;
    for (let offset = 0; offset < bytes.length && bytes[offset] !== 0; offset += 32) {
      const attributes = table.getUint8(offset + 11);
      if (attributes === 0x0f) {
        const order = table.getUint8(offset);
        const units = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30].map((at) =>
          table.getUint16(offset + at, true),
        );
        const end = units.indexOf(0);
        const text = String.fromCharCode(...(end < 0 ? units : units.slice(0, end)));
        const checksum = table.getUint8(offset + 13);
        if ((order & 0x40) !== 0) long = { text, next: (order & 0x3f) - 1, checksum };
        else if (long?.next === order && long.checksum === checksum)
          long = { text: text + long.text, next: order - 1, checksum };
        else throw new Error(`A long name in /${directory} is torn`);
        continue;
      }
      const raw = bytes.subarray(offset, offset + 11);
      const [base, extension] = [raw.subarray(0, 8), raw.subarray(8)].map((part) =>
        Buffer.from(part).toString('latin1').trimEnd(),
      );
      const short = extension === '' ? `${base}` : `${base}.${extension}`;
      const first = table.getUint16(offset + 20, true) * 0x10000 + table.getUint16(offset + 26, true);
      if ((attributes & 0x08) !== 0) {
        label = Buffer.from(raw).toString('latin1').trimEnd();
        continue;
      }
      if (base === '.' || base === '..') {
        if (first !== (base === '.' ? own : parent)) throw new Error(`${base} of /${directory} is wrong`);
        continue;
      }
      let sum = 0;
      for (const byte of raw) sum = (((sum & 1) << 7) + (sum >> 1) + byte) & 0xff;
      if (long !== undefined && (long.next !== 0 || long.checksum !== sum)) {
        throw new Error(`The long name of ${short} belongs to another`);
      }
      const path = `${directory === '' ? '' : `${directory}/`}${long?.text ?? short}`;
      long = undefined;
      const isDirectory = (attributes & 0x10) !== 0;
      const sizeBytes = table.getUint32(offset + 28, true);
      const content = first === 0 ? new Uint8Array(0) : chain(first);
      if (!isDirectory && content.length - sizeBytes >= clusterBytes) throw new Error(`${path} has too much`);
      entries.push({
        path,
        short,
        attributes,
        time: table.getUint16(offset + 22, true),
        date: table.getUint16(offset + 24, true),
        bytes: isDirectory ? undefined : content.subarray(0, sizeBytes),
      });
      if (isDirectory) readDirectory(path, content, first, own === 2 ? 0 : own);
    }
  };
  readDirectory('', chain(2), 2, 0);
  const freeClusters = view.getUint32(512 + 488, true);
  if (freeClusters !== clusterCount - seen.size) throw new Error('FSInfo counts wrong');
  return { label, clusterCount, freeClusters, entries };
}
