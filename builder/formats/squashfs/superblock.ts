/**
 * The superblock of squashfs 4.0, and the constants the rest of the writer shares.
 * Source: Linux fs/squashfs/squashfs_fs.h; Documentation/filesystems/squashfs.rst.
 */

export const superblockBytes = 96;
/** SQUASHFS_METADATA_SIZE: what inodes, directories and tables are cut into before compression. */
export const metadataBlockBytes = 8192;
/** SQUASHFS_INVALID_FRAG, SQUASHFS_INVALID_XATTR. */
export const none32 = 0xffffffff;
/** SQUASHFS_INVALID_BLK: a table that is not there. */
const none64 = 0xffffffffffffffffn;
/** SQUASHFS_COMPRESSED_BIT_BLOCK: set in the size of a data block stored as it is. */
export const storedBlockBit = 1 << 24;
/** SQUASHFS_COMPRESSED_BIT: set in the size of a metadata block stored as it is. */
export const storedMetadataBit = 1 << 15;
/** What mksquashfs pads an image to (not counted in bytes_used), so that a device of any sector size holds it. */
export const imageAlignment = 4096;

/** mksquashfs's default level. Another one is recorded behind the superblock, for unsquashfs -s to show. */
export const defaultZstdLevel = 15;

/** Bit numbers, SQUASHFS_ALWAYS_FRAG … in squashfs_fs.h. */
const flagBits = {
  alwaysFragments: 5,
  duplicatesChecked: 6,
  exportable: 7,
  noXattrs: 9,
  compressorOptions: 10,
};

const zstdCompression = 6;

export interface Superblock {
  readonly inodes: number;
  /** mkfs_time: shown by tools, used by nothing. */
  readonly timeSec: number;
  readonly blockBytes: number;
  readonly fragments: number;
  readonly ids: number;
  readonly hasCompressorOptions: boolean;
  /** Inode reference: offset of the metadata block in the inode table × 65536 + offset inside. */
  readonly rootInode: number;
  readonly usedBytes: number;
  readonly idTable: number;
  readonly inodeTable: number;
  readonly directoryTable: number;
  readonly fragmentTable: number;
  readonly exportTable: number;
}

/*
 * struct squashfs_super_block, little-endian:
 *
 *   offset size field                  offset size field
 *        0    4 s_magic "hsqs"             32    8 root_inode
 *        4    4 inodes                     40    8 bytes_used
 *        8    4 mkfs_time                  48    8 id_table_start
 *       12    4 block_size                 56    8 xattr_id_table_start
 *       16    4 fragments                  64    8 inode_table_start
 *       20    2 compression                72    8 directory_table_start
 *       22    2 block_log                  80    8 fragment_table_start
 *       24    2 flags                      88    8 lookup_table_start (export table)
 *       26    2 no_ids
 *       28    2 s_major
 *       30    2 s_minor
 */
export function encodeSuperblock(fields: Superblock): Uint8Array {
  const bytes = new Uint8Array(superblockBytes);
  const view = new DataView(bytes.buffer);
  const flags =
    (1 << flagBits.alwaysFragments) |
    (1 << flagBits.duplicatesChecked) |
    (1 << flagBits.exportable) |
    (1 << flagBits.noXattrs) |
    (fields.hasCompressorOptions ? 1 << flagBits.compressorOptions : 0);
  bytes.set(Buffer.from('hsqs'), 0);
  view.setUint32(4, fields.inodes, true);
  view.setUint32(8, fields.timeSec, true);
  view.setUint32(12, fields.blockBytes, true);
  view.setUint32(16, fields.fragments, true);
  view.setUint16(20, zstdCompression, true);
  view.setUint16(22, Math.log2(fields.blockBytes), true);
  view.setUint16(24, flags, true);
  view.setUint16(26, fields.ids, true);
  view.setUint16(28, 4, true);
  view.setUint16(30, 0, true);
  view.setBigUint64(32, BigInt(fields.rootInode), true);
  view.setBigUint64(40, BigInt(fields.usedBytes), true);
  view.setBigUint64(48, BigInt(fields.idTable), true);
  view.setBigUint64(56, none64, true);
  view.setBigUint64(64, BigInt(fields.inodeTable), true);
  view.setBigUint64(72, BigInt(fields.directoryTable), true);
  view.setBigUint64(80, BigInt(fields.fragmentTable), true);
  view.setBigUint64(88, BigInt(fields.exportTable), true);
  return bytes;
}

/** struct zstd_comp_opts of squashfs-tools, as one stored metadata block: 2 bytes size, 4 bytes level. */
export function encodeCompressorOptions(level: number): Uint8Array {
  const bytes = new Uint8Array(6);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, storedMetadataBit | 4, true);
  view.setUint32(2, level, true);
  return bytes;
}
