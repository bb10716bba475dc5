/**
 * As much of ext4 as is needed to decide about DATA: whether there is one, how large it is, and whether
 * it was left in good order. The rest is
 * left to e2fsprogs. Kernel: Documentation/filesystems/ext4/super.rst.
 *
 * | offset | in the superblock, which lies 1024 bytes into the partition |
 * |-------:|------------------------------------------------------------|
 * | 0x04   | u32 number of blocks, low half                             |
 * | 0x18   | u32 log2(block size / 1024)                                |
 * | 0x38   | u16 magic                                                  |
 * | 0x60   | u32 incompatible features                                  |
 * | 0x150  | u32 number of blocks, high half, with the 64bit feature    |
 */
export const superblockOffsetBytes = 1024;
export const superblockBytes = 1024;
const magic = 0xef53;
const incompat64bit = 0x80;
/** EXT4_FEATURE_INCOMPAT_RECOVER: the journal holds what is not in its place yet. */
const incompatRecover = 0x4;
/** EXT4_MAX_BLOCK_SIZE is 65,536. */
const maxLogBlockSize = 6;

/**
 * Size in bytes of the filesystem whose superblock this is.
 * @returns undefined when it is no ext2, ext3 or ext4 superblock
 */
export function ext4SizeBytes(superblock: Uint8Array): number | undefined {
  if (superblock.length < superblockBytes) return undefined;
  const view = new DataView(superblock.buffer, superblock.byteOffset, superblock.length);
  const logBlockSize = view.getUint32(0x18, true);
  if (view.getUint16(0x38, true) !== magic || logBlockSize > maxLogBlockSize) return undefined;
  const high = (view.getUint32(0x60, true) & incompat64bit) === 0 ? 0 : view.getUint32(0x150, true);
  const sizeBytes = (high * 2 ** 32 + view.getUint32(0x04, true)) * 1024 * 2 ** logBlockSize;
  return Number.isSafeInteger(sizeBytes) ? sizeBytes : undefined;
}

/** True for a filesystem that was not unmounted: the power was cut, or it is in use. */
export function ext4NeedsRecovery(superblock: Uint8Array): boolean {
  if (ext4SizeBytes(superblock) === undefined) return false;
  const view = new DataView(superblock.buffer, superblock.byteOffset, superblock.length);
  return (view.getUint32(0x60, true) & incompatRecover) !== 0;
}
