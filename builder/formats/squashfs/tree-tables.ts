/**
 * The tables that make a tree of stored files: inodes, directories, ids, and the export table that finds an
 * inode by its number. Everything is in memory: some 50 bytes a file before compression, 4 more a block.
 *
 * Directories are written children first, because an inode of a directory says where its entries are, and
 * these say where their inodes are. The inodes of one directory lie together and count up, which keeps the
 * runs of its entries long.
 */
import { parentPath, type TreeInode, type TreeName } from '../tree-order.ts';
import { appendDirectory } from './directory.ts';
import type { StoredFile } from './file-data.ts';
import {
  encodeDeviceInode,
  encodeDirectoryInode,
  encodeFileInode,
  encodeIpcInode,
  encodeSymlinkInode,
  type InodeBase,
  inodeTypes,
  type StoredDirectory,
} from './inode.ts';
import { type MetadataPlace, MetadataStream } from './metadata.ts';

export interface TreeTables {
  readonly inodes: Uint8Array;
  readonly directories: Uint8Array;
  /** Entries of the id table and of the export table, still to be cut into blocks. */
  readonly ids: Uint8Array;
  readonly exports: Uint8Array;
  readonly inodeCount: number;
  readonly idCount: number;
  readonly rootInode: number;
}

interface Directory {
  readonly inode: TreeInode;
  readonly children: TreeName[];
  links: number;
}

/**
 * @param names the tree in order, with its root
 * @throws RangeError if there are more than 65,535 users and groups
 */
export function encodeTreeTables(
  names: readonly TreeName[],
  files: ReadonlyMap<TreeInode, StoredFile>,
  level: number,
): TreeTables {
  const directories = listDirectories(names);
  const numbers = numberInodes(directories);
  const inodeStream = new MetadataStream(level);
  const directoryStream = new MetadataStream(level);
  const ids = createIdTable();
  const places = new Map<TreeInode, MetadataPlace>();
  const stored = new Map<TreeInode, StoredDirectory>();
  const numberOf = (inode: TreeInode) => required(numbers.get(inode));

  const writeInode = (inode: TreeInode, parentNumber: number): void => {
    const { entry } = inode;
    const base: InodeBase = {
      mode: entry.mode,
      uidIndex: ids.indexOf(entry.uid),
      gidIndex: ids.indexOf(entry.gid),
      mtimeSec: entry.mtimeSec,
      number: numberOf(inode),
    };
    places.set(inode, inodeStream.place);
    const directory = directories.get(entry.path);
    inodeStream.append(
      entry.kind === 'directory'
        ? encodeDirectoryInode(base, required(directory).links, parentNumber, required(stored.get(inode)))
        : encodeOtherInode(base, inode, files),
    );
  };

  for (const { inode, children } of childrenFirst(directories)) {
    for (const child of children) {
      if (!places.has(child.inode)) writeInode(child.inode, numberOf(inode));
    }
    const entries = children.map((child) => ({
      name: Buffer.from(child.path.slice(child.path.lastIndexOf('/') + 1)),
      type: inodeTypes[child.inode.entry.kind],
      inodeNumber: numberOf(child.inode),
      inodePlace: required(places.get(child.inode)),
    }));
    stored.set(inode, appendDirectory(directoryStream, entries));
  }
  const root = required(directories.get('')).inode;
  // The root has no parent: mksquashfs names a number that no inode has, and the kernel never looks.
  writeInode(root, numbers.size + 1);
  return {
    inodes: inodeStream.finish(),
    directories: directoryStream.finish(),
    ids: ids.encode(),
    exports: encodeExports(numbers, places),
    inodeCount: numbers.size,
    idCount: ids.size(),
    rootInode: reference(required(places.get(root))),
  };
}

function encodeOtherInode(
  base: InodeBase,
  inode: TreeInode,
  files: ReadonlyMap<TreeInode, StoredFile>,
): Uint8Array {
  const { entry } = inode;
  const links = inode.paths.length;
  switch (entry.kind) {
    case 'file':
      return encodeFileInode(base, links, required(files.get(inode)));
    case 'symlink':
      return encodeSymlinkInode(base, links, entry.target);
    case 'character':
    case 'block':
      return encodeDeviceInode(base, links, entry);
    case 'fifo':
    case 'socket':
      return encodeIpcInode(base, links, entry.kind);
    case 'directory':
      throw new RangeError(`"${entry.path}" is a directory`);
  }
}

/** Every directory by its path, in order, with what is in it. */
function listDirectories(names: readonly TreeName[]): ReadonlyMap<string, Directory> {
  const directories = new Map<string, Directory>();
  for (const { path, inode } of names) {
    if (path !== '') required(directories.get(parentPath(path))).children.push({ path, inode });
    if (inode.entry.kind !== 'directory') continue;
    // Its name in the parent and its own "."; each directory inside adds its "..".
    directories.set(path, { inode, children: [], links: 2 });
    if (path !== '') required(directories.get(parentPath(path))).links++;
  }
  return directories;
}

/** Parents come first in order, so backwards each directory comes before the one it is in. */
function childrenFirst(directories: ReadonlyMap<string, Directory>): Directory[] {
  return [...directories.values()].toReversed();
}

/** Numbers from 1 in the order the inodes are written; the root is last. */
function numberInodes(directories: ReadonlyMap<string, Directory>): ReadonlyMap<TreeInode, number> {
  const numbers = new Map<TreeInode, number>();
  const number = (inode: TreeInode) => {
    if (!numbers.has(inode)) numbers.set(inode, numbers.size + 1);
  };
  for (const { children } of childrenFirst(directories)) for (const child of children) number(child.inode);
  number(required(directories.get('')).inode);
  return numbers;
}

function createIdTable() {
  const indexes = new Map<number, number>();
  return {
    size: () => indexes.size,
    indexOf(id: number): number {
      const found = indexes.get(id);
      if (found !== undefined) return found;
      if (indexes.size === 0xffff) throw new RangeError('A squashfs takes 65535 different users and groups');
      indexes.set(id, indexes.size);
      return indexes.size - 1;
    },
    encode(): Uint8Array {
      const bytes = Buffer.alloc(indexes.size * 4);
      [...indexes.keys()].forEach((id, index) => bytes.writeUInt32LE(id, index * 4));
      return bytes;
    },
  };
}

function encodeExports(
  numbers: ReadonlyMap<TreeInode, number>,
  places: ReadonlyMap<TreeInode, MetadataPlace>,
): Uint8Array {
  const bytes = Buffer.alloc(numbers.size * 8);
  for (const [inode, number] of numbers) {
    bytes.writeBigUInt64LE(BigInt(reference(required(places.get(inode)))), (number - 1) * 8);
  }
  return bytes;
}

/** squashfs_inode: block offset in the upper 48 bits, offset in the block in the lower 16. */
function reference(place: MetadataPlace): number {
  return place.block * 0x10000 + place.offset;
}

function required<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new RangeError('The tree was not put in order');
  return value;
}
