/**
 * Plans a FAT32 volume: where every file and directory lies, and all bytes but those of the files. Pure,
 * so a boot loader that wants to know its own sectors can be told before anything is written.
 *
 * Files and directories are laid out without gaps, in the order of their paths. Not kept: owners, modes,
 * and all kinds of file that FAT does not have. Source: Microsoft's FAT specification 1.03.
 */
import type { Content, TreeEntry } from '../tree.ts';
import {
  type Dirent,
  direntBytes,
  direntCount,
  encodeDirents,
  fatAttributes,
  fixedName,
} from './directory.ts';
import {
  encodeBootSector,
  type FatGeometry,
  type FatIdentity,
  firstCluster,
  planGeometry,
  sectorBytes,
} from './geometry.ts';
import { assignFatNames, type FatName } from './names.ts';

/** FAT specification 1.03, "Directory entries": at most 65,536 entries of 32 bytes in a directory. */
const maxDirectoryBytes = 65_536 * direntBytes;
const maxFileBytes = 0xffff_ffff;
/** Keeps a plan in memory; FAT itself has no such limit. */
const maxEntries = 1_000_000;

export interface FatOptions extends FatIdentity {
  readonly sizeBytes: number;
  /** A power of two, 512–32768. */
  readonly clusterBytes: number;
  /** Attribute bits of some paths in place of the usual "archive". */
  readonly attributes?: ReadonlyMap<string, number>;
}

/** A file or directory, in one piece. */
export interface FatExtent {
  readonly path: string;
  /** 0 where there are no bytes, and so no clusters. */
  readonly firstCluster: number;
  readonly clusterCount: number;
  readonly content: Content;
}

export interface FatPlan {
  readonly geometry: FatGeometry;
  readonly bootSector: Uint8Array;
  /** In order of their clusters. */
  readonly extents: readonly FatExtent[];
  readonly usedClusters: number;
}

/**
 * @param entries any order, every parent directory among them (the root itself may be)
 * @throws RangeError when FAT cannot hold the tree; the message names the path
 */
export function planFat32(entries: Iterable<TreeEntry>, options: FatOptions): FatPlan {
  const geometry = planGeometry(options.sizeBytes, options.clusterBytes);
  const bootSector = encodeBootSector(geometry, options);
  const tree = readTree(entries);

  const nodes: Node[] = [tree, ...descendants(tree)];
  let nextCluster = firstCluster;
  for (const node of nodes) {
    if (node.kind === 'directory') nameChildren(node);
    node.sizeBytes = node.kind === 'directory' ? directoryBytes(node) : node.content.sizeBytes;
    node.clusterCount = Math.ceil(node.sizeBytes / options.clusterBytes);
    node.firstCluster = node.clusterCount === 0 ? 0 : nextCluster;
    nextCluster += node.clusterCount;
  }
  const usedClusters = nextCluster - firstCluster;
  if (usedClusters > geometry.clusterCount) {
    const [needed, there] = [usedClusters, geometry.clusterCount].map((n) => n * options.clusterBytes);
    throw new RangeError(`The files need ${needed} bytes, and the FAT volume has ${there}`);
  }
  const extents = nodes.map((node) => ({
    path: node.path,
    firstCluster: node.firstCluster,
    clusterCount: node.clusterCount,
    content:
      node.kind === 'file' ? node.content : lazyContent(node.sizeBytes, () => encodeNode(node, options)),
  }));
  return { geometry, bootSector, extents, usedClusters };
}

/** First sector of a cluster, counted from the start of the volume. */
export function clusterSector(geometry: FatGeometry, cluster: number): number {
  return geometry.dataSector + (cluster - firstCluster) * geometry.sectorsPerCluster;
}

/**
 * The sectors of a file's bytes, counted from the start of the volume.
 * @throws RangeError when the plan has no such path
 */
export function locateFile(plan: FatPlan, path: string): { firstSector: number; sectorCount: number } {
  const extent = findExtent(plan, path);
  return {
    firstSector: extent.clusterCount === 0 ? 0 : clusterSector(plan.geometry, extent.firstCluster),
    sectorCount: Math.ceil(extent.content.sizeBytes / sectorBytes),
  };
}

/**
 * The same plan with other bytes in a file.
 * @throws RangeError when their number differs, or the plan has no such path
 */
export function replaceFile(plan: FatPlan, path: string, content: Content): FatPlan {
  const old = findExtent(plan, path);
  if (content.sizeBytes !== old.content.sizeBytes) {
    throw new RangeError(`${path} has ${old.content.sizeBytes} bytes and cannot become ${content.sizeBytes}`);
  }
  return { ...plan, extents: plan.extents.map((each) => (each === old ? { ...each, content } : each)) };
}

function findExtent(plan: FatPlan, path: string): FatExtent {
  const extent = plan.extents.find((each) => each.path === path);
  if (extent === undefined) throw new RangeError(`The FAT volume has no ${path}`);
  return extent;
}

interface Place {
  readonly path: string;
  readonly name: string;
  readonly mtimeSec: number;
  sizeBytes: number;
  firstCluster: number;
  clusterCount: number;
}

interface FileNode extends Place {
  readonly kind: 'file';
  readonly content: Content;
}

interface DirectoryNode extends Place {
  readonly kind: 'directory';
  readonly parent: DirectoryNode | undefined;
  readonly children: Node[];
  names: ReadonlyMap<string, FatName>;
}

type Node = FileNode | DirectoryNode;

function readTree(entries: Iterable<TreeEntry>): DirectoryNode {
  const root = directoryNode('', 0, undefined);
  const directories = new Map([['', root]]);
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  if (sorted.length > maxEntries) throw new RangeError(`${sorted.length} files are more than ${maxEntries}`);
  for (const entry of sorted) {
    if (entry.path === '' && entry.kind === 'directory') continue;
    if (entry.kind !== 'file' && entry.kind !== 'directory') {
      throw new RangeError(`FAT cannot hold ${entry.path}: it is a ${entry.kind}`);
    }
    const parentPath = entry.path.slice(0, Math.max(entry.path.lastIndexOf('/'), 0));
    const parent = directories.get(parentPath);
    if (parent === undefined) throw new RangeError(`The directory of ${entry.path} is missing`);
    if (parent.children.at(-1)?.path === entry.path) throw new RangeError(`${entry.path} is given twice`);
    let node: Node;
    if (entry.kind === 'directory') {
      node = directoryNode(entry.path, entry.mtimeSec, parent);
      directories.set(entry.path, node);
    } else {
      node = fileNode(entry.path, entry.mtimeSec, entry.content);
    }
    parent.children.push(node);
  }
  return root;
}

function place(path: string, mtimeSec: number): Place {
  const name = path.slice(path.lastIndexOf('/') + 1);
  return { path, name, mtimeSec, sizeBytes: 0, firstCluster: 0, clusterCount: 0 };
}

function directoryNode(path: string, mtimeSec: number, parent: DirectoryNode | undefined): DirectoryNode {
  return { ...place(path, mtimeSec), kind: 'directory', parent, children: [], names: new Map() };
}

function fileNode(path: string, mtimeSec: number, content: Content): FileNode {
  if (!Number.isSafeInteger(content.sizeBytes) || content.sizeBytes > maxFileBytes) {
    throw new RangeError(`FAT cannot hold ${path}: its ${content.sizeBytes} bytes are 4 GiB or more`);
  }
  return { ...place(path, mtimeSec), kind: 'file', content };
}

function* descendants(directory: DirectoryNode): Generator<Node> {
  for (const child of directory.children) {
    yield child;
    if (child.kind === 'directory') yield* descendants(child);
  }
}

function nameChildren(directory: DirectoryNode): void {
  directory.names = assignFatNames(
    directory.children.map((child) => child.name),
    directory.path,
  );
}

function directoryBytes(directory: DirectoryNode): number {
  // `.` and `..`; or, in the root, the label.
  let count = directory.parent === undefined ? 1 : 2;
  for (const name of directory.names.values()) count += direntCount(name);
  if (count * direntBytes > maxDirectoryBytes) {
    throw new RangeError(`FAT cannot hold /${directory.path}: it has too many or too long names`);
  }
  return count * direntBytes;
}

function encodeNode(directory: DirectoryNode, options: FatOptions): Uint8Array {
  const dirents: Dirent[] = [];
  const own = { attributes: fatAttributes.directory, mtimeSec: directory.mtimeSec, sizeBytes: 0 };
  if (directory.parent === undefined) {
    const attributes = fatAttributes.volumeLabel;
    dirents.push({ ...own, name: fixedName(options.label), attributes, firstCluster: 0 });
  } else {
    // FAT specification 1.03: `..` of a directory in the root has cluster 0, not the root's.
    const parentCluster = directory.parent.parent === undefined ? 0 : directory.parent.firstCluster;
    dirents.push({ ...own, name: fixedName('.'), firstCluster: directory.firstCluster });
    dirents.push({ ...own, name: fixedName('..'), firstCluster: parentCluster });
  }
  for (const child of directory.children) {
    const name = directory.names.get(child.name);
    if (name === undefined) throw new Error(`${child.path} was given no FAT name`);
    const usual = child.kind === 'directory' ? fatAttributes.directory : fatAttributes.archive;
    dirents.push({
      name,
      attributes: options.attributes?.get(child.path) ?? usual,
      mtimeSec: child.mtimeSec,
      firstCluster: child.firstCluster,
      sizeBytes: child.kind === 'file' ? child.sizeBytes : 0,
    });
  }
  return encodeDirents(dirents);
}

function lazyContent(sizeBytes: number, encode: () => Uint8Array): Content {
  return {
    sizeBytes,
    async *read() {
      yield encode();
    },
  };
}
