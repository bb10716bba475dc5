/**
 * The order the image writers need, and the rules every tree must keep: sorted by the bytes of the path (so
 * that parents come before their children and equal trees give equal images), no path twice, every parent a
 * directory of the tree, every hard link resolved to what it is another name of.
 */
import type { TreeEntry } from './tree.ts';

/** NAME_MAX and PATH_MAX (with its NUL) of Linux's limits.h. */
export const maxNameBytes = 255;
export const maxPathBytes = 4095;

/** What has an inode of its own: everything but hard links. */
export type InodeEntry = Exclude<TreeEntry, { readonly kind: 'hardlink' }>;

export interface TreeInode {
  readonly entry: InodeEntry;
  /** Every path of it in order: the entry's own and those of the hard links to it. */
  readonly paths: readonly string[];
}

export interface TreeName {
  readonly path: string;
  readonly inode: TreeInode;
}

/**
 * Checks a tree and puts it in order. The root (path '') may be missing.
 * @throws RangeError naming the entry that breaks a rule
 */
export function orderTree(entries: Iterable<TreeEntry>): readonly TreeName[] {
  const byPath = new Map<string, TreeEntry>();
  for (const entry of entries) {
    assertEntry(entry);
    if (byPath.has(entry.path)) throw new RangeError(`Tree entry "${entry.path}" is there twice`);
    byPath.set(entry.path, entry);
  }
  const inodes = new Map<InodeEntry, { entry: InodeEntry; paths: string[] }>();
  const names: TreeName[] = [];
  for (const { path } of sortByPath(byPath.values())) {
    assertParent(path, byPath);
    const entry = resolve(path, byPath);
    let inode = inodes.get(entry);
    if (!inode) inodes.set(entry, (inode = { entry, paths: [] }));
    inode.paths.push(path);
    names.push({ path, inode });
  }
  return names;
}

/** Sorted by the bytes of the path, as the kernel and other tools compare names (UTF-16 order differs). */
export function sortByPath<Item extends { readonly path: string }>(items: Iterable<Item>): Item[] {
  return Array.from(items, (item) => ({ item, bytes: Buffer.from(item.path) }))
    .sort((one, other) => one.bytes.compare(other.bytes))
    .map(({ item }) => item);
}

/** The path of the directory `path` is in. */
export function parentPath(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

function assertEntry(entry: TreeEntry): void {
  const fail = (problem: string) => {
    throw new RangeError(`Tree entry "${entry.path}" ${problem}`);
  };
  if (entry.path === '') {
    if (entry.kind !== 'directory') fail(`is the root and a ${entry.kind}, not a directory`);
  } else {
    for (const name of entry.path.split('/')) {
      if (name === '' || name === '.' || name === '..') fail('has an empty, "." or ".." part in its path');
      if (Buffer.byteLength(name) > maxNameBytes) fail(`has a name of more than ${maxNameBytes} bytes`);
    }
    if (entry.path.includes('\0')) fail('has a NUL in its path');
    if (!entry.path.isWellFormed()) fail('has a path that is not well-formed Unicode');
    if (Buffer.byteLength(entry.path) > maxPathBytes) fail(`has a path of more than ${maxPathBytes} bytes`);
  }
  if (entry.kind === 'symlink') {
    const bytes = Buffer.byteLength(entry.target);
    if (bytes === 0 || bytes > maxPathBytes || entry.target.includes('\0')) {
      fail(`has a link target that is empty, longer than ${maxPathBytes} bytes or contains a NUL`);
    }
  }
  const inside = (value: number, most: number) => Number.isInteger(value) && value >= 0 && value <= most;
  if (!inside(entry.mode, 0o7777)) fail(`has mode ${entry.mode}, which is not within 0o7777`);
  if (!inside(entry.uid, 0xffffffff)) fail(`has uid ${entry.uid}, which is not a 32-bit number`);
  if (!inside(entry.gid, 0xffffffff)) fail(`has gid ${entry.gid}, which is not a 32-bit number`);
  if (!inside(entry.mtimeSec, 0xffffffff)) fail(`has mtime ${entry.mtimeSec}, which is not a 32-bit number`);
  if (entry.kind === 'character' || entry.kind === 'block') {
    // include/linux/kdev_t.h: 12 bits of major, 20 of minor
    if (!inside(entry.major, 0xfff)) fail(`has device major ${entry.major}, which is above 4095`);
    if (!inside(entry.minor, 0xfffff)) fail(`has device minor ${entry.minor}, which is above 1048575`);
  }
}

function assertParent(path: string, byPath: ReadonlyMap<string, TreeEntry>): void {
  if (path === '') return;
  const parent = parentPath(path);
  const kind = byPath.get(parent)?.kind;
  if (kind === 'directory' || (kind === undefined && parent === '')) return;
  throw new RangeError(
    `Tree entry "${path}" is below "${parent}", which is ${kind === undefined ? 'not in the tree' : `a ${kind}`}`,
  );
}

function resolve(path: string, byPath: ReadonlyMap<string, TreeEntry>): InodeEntry {
  const seen = new Set<string>();
  let entry = byPath.get(path);
  while (entry?.kind === 'hardlink') {
    if (seen.has(entry.path)) throw new RangeError(`Tree entry "${path}" is a hard link to itself`);
    seen.add(entry.path);
    const target = entry.target;
    entry = byPath.get(target);
    if (entry === undefined || entry.kind === 'directory') {
      const found = entry === undefined ? 'not in the tree' : 'a directory';
      throw new RangeError(`Tree entry "${path}" is a hard link to "${target}", which is ${found}`);
    }
  }
  if (entry === undefined) throw new RangeError(`Tree entry "${path}" is not in the tree`);
  return entry;
}
