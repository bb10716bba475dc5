/**
 * Inodes of squashfs 4.0. Each kind has a basic form and an extended one ("L…"), which is used only where
 * the basic one lacks a field. Extended attributes are left out altogether.
 * Source: Linux fs/squashfs/squashfs_fs.h.
 */
import type { InodeEntry } from '../tree-order.ts';
import type { StoredFile } from './file-data.ts';
import { none32 } from './superblock.ts';

/** SQUASHFS_DIR_TYPE …, which directory entries use too; the extended form of a type is `+ extended`. */
export const inodeTypes = {
  directory: 1,
  file: 2,
  symlink: 3,
  block: 4,
  character: 5,
  fifo: 6,
  socket: 7,
} as const satisfies Record<InodeEntry['kind'], number>;
const extended = 7;

/*
 * struct squashfs_base_inode, in front of each, little-endian:
 *
 *   offset size field
 *        0    2 inode_type
 *        2    2 mode, permission bits only
 *        4    2 uid, an index of the id table
 *        6    2 guid, likewise
 *        8    4 mtime
 *       12    4 inode_number
 */

export interface InodeBase {
  readonly mode: number;
  readonly uidIndex: number;
  readonly gidIndex: number;
  readonly mtimeSec: number;
  readonly number: number;
}

/** Where the entries of a directory are, and its index. */
export interface StoredDirectory {
  /** Offset of the metadata block in the directory table, and in that block. */
  readonly block: number;
  readonly offset: number;
  /** Bytes of the entries + 3: the kernel counts "." and ".." in. */
  readonly sizeBytes: number;
  readonly index: readonly DirectoryIndexEntry[];
}

export interface DirectoryIndexEntry {
  /** Offset of a header in the entries of this directory. */
  readonly at: number;
  /** Offset of the metadata block that has it. */
  readonly block: number;
  /** The first name behind it. */
  readonly name: Uint8Array;
}

/*
 *   squashfs_reg_inode          squashfs_lreg_inode
 *   16  4 start_block           16  8 start_block
 *   20  4 fragment              24  8 file_size
 *   24  4 offset                32  8 sparse: bytes that take no space
 *   28  4 file_size             40  4 nlink
 *   32 4n block_list            44  4 fragment
 *                               48  4 offset
 *                               52  4 xattr
 *                               56 4n block_list
 */
export function encodeFileInode(base: InodeBase, links: number, file: StoredFile): Uint8Array {
  const isBasic = links === 1 && file.sparseBytes === 0 && file.start <= none32 && file.sizeBytes <= none32;
  const fixedBytes = isBasic ? 32 : 56;
  const view = start(base, inodeTypes.file + (isBasic ? 0 : extended), fixedBytes + 4 * file.blocks.length);
  const fragment = file.fragment ?? { index: none32, offset: 0 };
  if (isBasic) {
    view.setUint32(16, file.start, true);
    view.setUint32(20, fragment.index, true);
    view.setUint32(24, fragment.offset, true);
    view.setUint32(28, file.sizeBytes, true);
  } else {
    view.setBigUint64(16, BigInt(file.start), true);
    view.setBigUint64(24, BigInt(file.sizeBytes), true);
    view.setBigUint64(32, BigInt(file.sparseBytes), true);
    view.setUint32(40, links, true);
    view.setUint32(44, fragment.index, true);
    view.setUint32(48, fragment.offset, true);
    view.setUint32(52, none32, true);
  }
  file.blocks.forEach((block, position) => view.setUint32(fixedBytes + 4 * position, block, true));
  return bytesOf(view);
}

/*
 *   squashfs_dir_inode          squashfs_ldir_inode        squashfs_dir_index
 *   16  4 start_block           16  4 nlink                 0  4 index
 *   20  4 nlink                 20  4 file_size             4  4 start_block
 *   24  2 file_size             24  4 start_block           8  4 size of the name - 1
 *   26  2 offset                28  4 parent_inode         12    name
 *   28  4 parent_inode          32  2 i_count
 *                               34  2 offset
 *                               36  4 xattr
 *                               40    index
 */
export function encodeDirectoryInode(
  base: InodeBase,
  links: number,
  parentNumber: number,
  directory: StoredDirectory,
): Uint8Array {
  if (directory.index.length === 0 && directory.sizeBytes <= 0xffff) {
    const view = start(base, inodeTypes.directory, 32);
    view.setUint32(16, directory.block, true);
    view.setUint32(20, links, true);
    view.setUint16(24, directory.sizeBytes, true);
    view.setUint16(26, directory.offset, true);
    view.setUint32(28, parentNumber, true);
    return bytesOf(view);
  }
  const view = start(base, inodeTypes.directory + extended, 40);
  view.setUint32(16, links, true);
  view.setUint32(20, directory.sizeBytes, true);
  view.setUint32(24, directory.block, true);
  view.setUint32(28, parentNumber, true);
  view.setUint16(32, directory.index.length, true);
  view.setUint16(34, directory.offset, true);
  view.setUint32(36, none32, true);
  const index = directory.index.flatMap(({ at, block, name }) => {
    const fixed = new DataView(new ArrayBuffer(12));
    fixed.setUint32(0, at, true);
    fixed.setUint32(4, block, true);
    fixed.setUint32(8, name.length - 1, true);
    return [bytesOf(fixed), name];
  });
  return Buffer.concat([bytesOf(view), ...index]);
}

/** squashfs_symlink_inode: 16 4 nlink, 20 4 symlink_size, 24 symlink (no NUL). */
export function encodeSymlinkInode(base: InodeBase, links: number, target: string): Uint8Array {
  const bytes = Buffer.from(target);
  const view = start(base, inodeTypes.symlink, 24);
  view.setUint32(16, links, true);
  view.setUint32(20, bytes.length, true);
  return Buffer.concat([bytesOf(view), bytes]);
}

/** squashfs_dev_inode: 16 4 nlink, 20 4 rdev as include/linux/kdev_t.h's new_encode_dev packs it. */
export function encodeDeviceInode(
  base: InodeBase,
  links: number,
  device: { readonly kind: 'block' | 'character'; readonly major: number; readonly minor: number },
): Uint8Array {
  const view = start(base, inodeTypes[device.kind], 24);
  view.setUint32(16, links, true);
  view.setUint32(20, (device.minor & 0xff) | (device.major << 8) | ((device.minor & ~0xff) << 12), true);
  return bytesOf(view);
}

/** squashfs_ipc_inode: 16 4 nlink. */
export function encodeIpcInode(base: InodeBase, links: number, kind: 'fifo' | 'socket'): Uint8Array {
  const view = start(base, inodeTypes[kind], 20);
  view.setUint32(16, links, true);
  return bytesOf(view);
}

function start(base: InodeBase, type: number, sizeBytes: number): DataView {
  const view = new DataView(new ArrayBuffer(sizeBytes));
  view.setUint16(0, type, true);
  view.setUint16(2, base.mode, true);
  view.setUint16(4, base.uidIndex, true);
  view.setUint16(6, base.gidIndex, true);
  view.setUint32(8, base.mtimeSec, true);
  view.setUint32(12, base.number, true);
  return view;
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
