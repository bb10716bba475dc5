/**
 * Writer of squashfs 4.0 images with zstd compression, for any kernel with SQUASHFS_ZSTD (Linux 4.14 and
 * later). The same tree and options give the same bytes, whatever the machine and its cores do. Left out:
 * extended attributes, other compressors, appending to an image.
 *
 * Image: superblock, compressor options (if not the default), data and fragment blocks, inode table,
 * directory table, fragment table, export table, id table, zeros up to a multiple of 4096. The kernel
 * checks that the tables come in this order (fs/squashfs/super.c).
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import type { TreeEntry } from '../tree.ts';
import { orderTree, type TreeInode, type TreeName } from '../tree-order.ts';
import { BlockWriter, type StoredBlock, writeFully } from './block-writer.ts';
import { type StoredData, storeFiles } from './file-data.ts';
import { encodeTable } from './metadata.ts';
import {
  defaultZstdLevel,
  encodeCompressorOptions,
  encodeSuperblock,
  imageAlignment,
  superblockBytes,
} from './superblock.ts';
import { encodeTreeTables } from './tree-tables.ts';

export interface SquashfsOptions {
  /** zstd level, 1–22; default 15. */
  readonly level?: number;
  /** Size of data blocks, a power of two from 4 KiB to 1 MiB; default 128 KiB. */
  readonly blockBytes?: number;
  /** Blocks compressed at a time, without influence on the image; default: as many as there are cores. */
  readonly workers?: number;
  readonly signal?: AbortSignal;
  /** Called after each block with the bytes of file content accepted so far, and those there are. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/**
 * Writes an image of the tree. A missing root entry counts as mode 0755 of root, at time 0.
 * @param output path of a file to make or replace (removed again on failure), or a handle open for reading
 *   and writing, whose file is cut and written from 0 and stays open
 * @returns size of the file and sha256 of it, in hexadecimal digits
 * @throws RangeError if the tree breaks the rules of `orderTree`, an option is out of range, or a content
 *   has another size than it declares
 */
export async function writeSquashfs(
  entries: Iterable<TreeEntry>,
  output: string | FileHandle,
  options: SquashfsOptions = {},
): Promise<{ readonly sizeBytes: number; readonly sha256: string }> {
  const settings = checkOptions(options);
  const names = withRoot(orderTree(entries));
  if (typeof output !== 'string') {
    await output.truncate(0);
    return writeImage(names, output, settings);
  }
  const file = await open(output, 'w+');
  try {
    const result = await writeImage(names, file, settings);
    await file.close();
    return result;
  } catch (error) {
    await file.close().catch(() => {});
    await rm(output, { force: true });
    throw error;
  }
}

type Settings = ReturnType<typeof checkOptions>;

function checkOptions({
  level = defaultZstdLevel,
  blockBytes = 128 * 1024,
  workers = availableParallelism(),
  ...rest
}: SquashfsOptions) {
  if (!Number.isInteger(level) || level < 1 || level > 22) {
    throw new RangeError(`zstd level ${level} is not a whole number from 1 to 22`);
  }
  if (!Number.isInteger(Math.log2(blockBytes)) || blockBytes < 4096 || blockBytes > 1024 * 1024) {
    throw new RangeError(`Block size ${blockBytes} is not a power of two from 4096 to 1048576`);
  }
  if (!Number.isInteger(workers) || workers < 1) {
    throw new RangeError(`${workers} workers: at least one is needed`);
  }
  return { level, blockBytes, workers, ...rest };
}

function withRoot(names: readonly TreeName[]): readonly TreeName[] {
  if (names[0]?.path === '') return names;
  const entry = { path: '', kind: 'directory', mode: 0o755, uid: 0, gid: 0, mtimeSec: 0 } as const;
  return [{ path: '', inode: { entry, paths: [''] } }, ...names];
}

async function writeImage(
  names: readonly TreeName[],
  file: FileHandle,
  settings: Settings,
): Promise<{ sizeBytes: number; sha256: string }> {
  const { level, blockBytes, signal } = settings;
  const hasCompressorOptions = level !== defaultZstdLevel;
  const head = hasCompressorOptions ? encodeCompressorOptions(level) : new Uint8Array(0);
  await writeFully(file, head, superblockBytes);
  const writer = new BlockWriter(file, superblockBytes + head.length, settings);
  const inodes = new Set<TreeInode>(names.map(({ inode }) => inode));
  let data: StoredData;
  try {
    data = await storeFiles(inodes, writer, settings);
  } finally {
    // The file stays open until nothing writes to it any more.
    await writer.settle();
  }
  signal?.throwIfAborted();

  const tree = encodeTreeTables(names, data.files, level);
  let end = writer.position;
  const append = async (bytes: Uint8Array): Promise<number> => {
    const at = end;
    await writeFully(file, bytes, at);
    end += bytes.length;
    return at;
  };
  const appendTable = async (entries: Uint8Array): Promise<number> => {
    const { bytes, indexAt } = encodeTable(entries, level, end);
    await append(bytes);
    return indexAt;
  };
  const superblock = {
    inodes: tree.inodeCount,
    timeSec: names.reduce((latest, { inode }) => Math.max(latest, inode.entry.mtimeSec), 0),
    blockBytes,
    fragments: data.fragments.length,
    ids: tree.idCount,
    hasCompressorOptions,
    rootInode: tree.rootInode,
    inodeTable: await append(tree.inodes),
    directoryTable: await append(tree.directories),
    fragmentTable: await appendTable(encodeFragments(data.fragments)),
    exportTable: await appendTable(tree.exports),
    idTable: await appendTable(tree.ids),
    usedBytes: end,
  };
  await append(new Uint8Array(-end & (imageAlignment - 1)));
  await writeFully(file, encodeSuperblock(superblock), 0);
  return { sizeBytes: end, sha256: await digestFile(file, end, signal) };
}

/** squashfs_fragment_entry: 0 8 start_block, 8 4 size with bit 24 as in block lists, 12 4 unused. */
function encodeFragments(fragments: readonly StoredBlock[]): Uint8Array {
  const bytes = Buffer.alloc(fragments.length * 16);
  fragments.forEach(({ at, size }, index) => {
    bytes.writeBigUInt64LE(BigInt(at), index * 16);
    bytes.writeUInt32LE(size, index * 16 + 8);
  });
  return bytes;
}

/** The superblock comes first and is known last, so the image is read once more. */
async function digestFile(file: FileHandle, sizeBytes: number, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const buffer = new Uint8Array(1024 * 1024);
  for (let at = 0; at < sizeBytes;) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0)
      throw new Error(`The image became shorter than ${sizeBytes} bytes while it was read`);
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest('hex');
}
