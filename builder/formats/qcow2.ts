/**
 * An empty qcow2 overlay: a file that reads as its backing file and takes all writes, so that a machine
 * runs from an image without changing it. Only what that needs: version 3, no data clusters, no snapshots,
 * no encryption. Source: QEMU docs/interop/qcow2.txt.
 */

//  offset size field (all big-endian)
//  0      4    magic "QFI\xfb"           48     8    refcount_table_offset
//  4      4    version 3                 56     4    refcount_table_clusters
//  8      8    backing_file_offset       60     4    nb_snapshots
//  16     4    backing_file_size         64     8    snapshots_offset
//  20     4    cluster_bits              72     8    incompatible_features
//  24     8    size                      80     8    compatible_features
//  32     4    crypt_method              88     8    autoclear_features
//  36     4    l1_size (entries)         96     4    refcount_order (4: 16 bits)
//  40     8    l1_table_offset           100    4    header_length
const magic = 0x514649fb;
const headerBytes = 104;
const backingFormatExtension = 0xe2792aca;

/** 64 KiB, QEMU's default. */
const clusterBits = 16;
const clusterBytes = 1 << clusterBits;
/** An L2 table is one cluster of 8-byte entries, so one L1 entry maps so much of the disk. */
const bytesPerL1Entry = (clusterBytes / 8) * clusterBytes;
/** A refcount block is one cluster of 16-bit counts. */
const clustersPerRefcountBlock = clusterBytes / 2;

/** docs/interop/qcow2.txt: "must not be longer than 1023 bytes". */
const maxBackingFileBytes = 1023;
/** 4 TiB: an L1 table of one cluster, which keeps the layout fixed. */
export const maxOverlayBytes = (clusterBytes / 8) * bytesPerL1Entry;

export interface Qcow2Overlay {
  /** Absolute path of the raw image below. */
  readonly backingFile: string;
  /** What the guest sees; may be larger than the backing file, and reads as zeros there. Whole sectors. */
  readonly virtualSizeBytes: number;
}

/**
 * The bytes of the file: header, refcount table, one refcount block, L1 table, each one cluster.
 * @throws RangeError when the path or the size is beyond what the format, or this writer, can hold
 */
export function encodeQcow2Overlay({ backingFile, virtualSizeBytes }: Qcow2Overlay): Uint8Array {
  const name = new TextEncoder().encode(backingFile);
  if (name.length > maxBackingFileBytes) {
    throw new RangeError(`The path ${backingFile} is longer than the ${maxBackingFileBytes} bytes of qcow2`);
  }
  if (
    !Number.isInteger(virtualSizeBytes / 512) ||
    virtualSizeBytes <= 0 ||
    virtualSizeBytes > maxOverlayBytes
  ) {
    throw new RangeError(
      `A disk of ${virtualSizeBytes} bytes is not whole sectors up to ${maxOverlayBytes} bytes`,
    );
  }
  const clusters = { header: 0, refcountTable: 1, refcountBlock: 2, l1Table: 3, count: 4 };
  const file = new Uint8Array(clusters.count * clusterBytes);
  const view = new DataView(file.buffer);
  const offsetOf = (cluster: number) => BigInt(cluster * clusterBytes);

  view.setUint32(0, magic);
  view.setUint32(4, 3);
  view.setUint32(20, clusterBits);
  view.setBigUint64(24, BigInt(virtualSizeBytes));
  view.setUint32(36, Math.ceil(virtualSizeBytes / bytesPerL1Entry));
  view.setBigUint64(40, offsetOf(clusters.l1Table));
  view.setBigUint64(48, offsetOf(clusters.refcountTable));
  view.setUint32(56, 1);
  view.setUint32(96, 4);
  view.setUint32(100, headerBytes);

  // Header extensions: type, length, bytes padded to 8. The format of the backing file is named, or QEMU
  // would guess it from the guest's own bytes.
  const format = new TextEncoder().encode('raw');
  view.setUint32(headerBytes, backingFormatExtension);
  view.setUint32(headerBytes + 4, format.length);
  file.set(format, headerBytes + 8);
  // Then the end mark, eight zero bytes, and the name.
  const nameOffset = headerBytes + 24;
  file.set(name, nameOffset);
  view.setBigUint64(8, BigInt(nameOffset));
  view.setUint32(16, name.length);

  view.setBigUint64(clusters.refcountTable * clusterBytes, offsetOf(clusters.refcountBlock));
  for (let cluster = 0; cluster < Math.min(clusters.count, clustersPerRefcountBlock); cluster++) {
    view.setUint16(clusters.refcountBlock * clusterBytes + cluster * 2, 1);
  }
  return file;
}
