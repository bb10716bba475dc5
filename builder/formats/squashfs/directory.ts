/**
 * The entries of a directory: runs of up to 256 names, each run behind a header with what they share. A
 * directory of more than one metadata block also gets an index, with the first name in each block, so that
 * the kernel need not read all of them to find one name.
 * Source: Linux fs/squashfs/squashfs_fs.h (squashfs_dir_header, squashfs_dir_entry), fs/squashfs/namei.c.
 */
import type { DirectoryIndexEntry, StoredDirectory } from './inode.ts';
import type { MetadataPlace, MetadataStream } from './metadata.ts';
import { metadataBlockBytes } from './superblock.ts';

export interface DirectoryEntry {
  readonly name: Uint8Array;
  /** Basic inode type, also where the inode has the extended form. */
  readonly type: number;
  readonly inodeNumber: number;
  readonly inodePlace: MetadataPlace;
}

/** SQUASHFS_DIR_COUNT */
const maxRun = 256;
const headerBytes = 12;
const entryBytes = 8;

/**
 * Appends the entries of one directory to the directory table.
 * @param entries sorted by the bytes of the name
 */
export function appendDirectory(table: MetadataStream, entries: readonly DirectoryEntry[]): StoredDirectory {
  const first = table.place;
  const index: DirectoryIndexEntry[] = [];
  let sizeBytes = 0;
  for (let from = 0; from < entries.length;) {
    const run = takeRun(entries, from, first.offset + sizeBytes);
    const name = entries[from]?.name ?? new Uint8Array(0);
    const isNewBlock = table.place.block !== (index.at(-1)?.block ?? first.block);
    if (isNewBlock) index.push({ at: sizeBytes, block: table.place.block, name });
    const bytes = encodeRun(entries.slice(from, from + run));
    table.append(bytes);
    sizeBytes += bytes.length;
    from += run;
  }
  return { ...first, sizeBytes: sizeBytes + 3, index };
}

/** How many entries from `from` share a header that begins at `start` (uncompressed, blocks counted on). */
function takeRun(entries: readonly DirectoryEntry[], from: number, start: number): number {
  const head = entries[from];
  const blockOf = (position: number) => Math.floor(position / metadataBlockBytes);
  let position = start + headerBytes;
  let run = 0;
  for (let at = from; at < entries.length && run < maxRun; at++, run++) {
    const entry = entries[at];
    if (head === undefined || entry === undefined) break;
    const distance = entry.inodeNumber - head.inodeNumber;
    const isNear = distance >= -0x8000 && distance <= 0x7fff;
    if (entry.inodePlace.block !== head.inodePlace.block || !isNear) break;
    // A header at the first name of each block is what the index can point at.
    if (run > 0 && blockOf(position) !== blockOf(start)) break;
    position += entryBytes + entry.name.length;
  }
  return run;
}

/*
 *   squashfs_dir_header                          squashfs_dir_entry
 *   0 4 count - 1                                0 2 offset of the inode in its metadata block
 *   4 4 start_block: where in the inode table    2 2 inode_number, signed, added to the header's
 *   8 4 inode_number                             4 2 type
 *                                                6 2 size of the name - 1
 *                                                8   name
 */
function encodeRun(run: readonly DirectoryEntry[]): Uint8Array {
  const [head] = run;
  if (head === undefined) throw new RangeError('A run of directory entries is empty');
  const header = Buffer.alloc(headerBytes);
  header.writeUInt32LE(run.length - 1, 0);
  header.writeUInt32LE(head.inodePlace.block, 4);
  header.writeUInt32LE(head.inodeNumber, 8);
  const parts: Uint8Array[] = [header];
  for (const entry of run) {
    const fixed = Buffer.alloc(entryBytes);
    fixed.writeUInt16LE(entry.inodePlace.offset, 0);
    fixed.writeInt16LE(entry.inodeNumber - head.inodeNumber, 2);
    fixed.writeUInt16LE(entry.type, 4);
    fixed.writeUInt16LE(entry.name.length - 1, 6);
    parts.push(fixed, entry.name);
  }
  return Buffer.concat(parts);
}
