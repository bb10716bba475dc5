/**
 * Puts the root filesystem together: pure, from the files of packages and our own, to one sorted tree.
 * Debian's usr-merge links are made here, paths the target drops are left out, and two packages that want
 * different files at one path are an error (no maintainer script is there to divert one).
 */
import type { Content, TreeEntry } from '../formats/tree.ts';
import type { Target } from '../../images/target.ts';

/** Files with the name of what they came from, for messages. */
export interface Layer {
  readonly origin: string;
  readonly entries: readonly TreeEntry[];
  /** Whether the target's list of dropped paths applies. */
  readonly filtered: boolean;
}

/** Directories that packages of an unmerged time may still use. */
const merged = ['bin', 'lib', 'lib64', 'sbin'] as const;

/**
 * Merges layers, later ones over earlier ones only where both are directories.
 * @param mtimeSec the time of everything that is ours (directories and links made here)
 */
export function assembleRoot(
  target: Pick<Target, 'dropped' | 'kept'>,
  layers: readonly Layer[],
  mtimeSec: number,
): TreeEntry[] {
  const tree = new Map<string, { entry: TreeEntry; origin: string }>();
  const own = { uid: 0, gid: 0, mtimeSec };
  tree.set('', { entry: { ...own, path: '', kind: 'directory', mode: 0o755 }, origin: 'root' });
  for (const name of merged) {
    tree.set(name, {
      entry: { ...own, path: name, kind: 'symlink', mode: 0o777, target: `usr/${name}` },
      origin: 'usr-merge',
    });
  }
  for (const { origin, entries, filtered } of layers) {
    for (const raw of entries) {
      const entry = intoUsr(raw);
      if (entry === undefined || (filtered && isDropped(target, entry.path))) continue;
      const there = tree.get(entry.path);
      if (there !== undefined && !mayReplace(there.entry, entry)) {
        throw new Error(`Both ${there.origin} and ${origin} bring /${entry.path}`);
      }
      tree.set(entry.path, { entry: { ...entry, mtimeSec: clampTime(entry, mtimeSec) }, origin });
    }
  }
  addMissingParents(tree, own);
  return [...tree.values()]
    .map(({ entry }) => entry)
    .sort((one, other) => (one.path < other.path ? -1 : one.path > other.path ? 1 : 0));
}

function intoUsr(entry: TreeEntry): TreeEntry | undefined {
  const first = entry.path.split('/', 1)[0] ?? '';
  const isMerged = (name: string) => merged.some((one) => one === name);
  const hardlinkTarget = (path: string) => (isMerged(path.split('/', 1)[0] ?? '') ? `usr/${path}` : path);
  if (entry.path === first && isMerged(first)) return undefined;
  const path = isMerged(first) ? `usr/${entry.path}` : entry.path;
  return entry.kind === 'hardlink'
    ? { ...entry, path, target: hardlinkTarget(entry.target) }
    : { ...entry, path };
}

function isDropped(target: Pick<Target, 'dropped' | 'kept'>, path: string): boolean {
  if (target.kept.some((pattern) => pattern.test(path))) return false;
  return target.dropped.some((prefix) => path === prefix || path.startsWith(`${prefix}/`));
}

function mayReplace(there: TreeEntry, next: TreeEntry): boolean {
  if (there.kind === 'directory' && next.kind === 'directory') return true;
  return there.kind === 'symlink' && next.kind === 'symlink' && there.target === next.target;
}

/** A file from the future would make a device without a clock wonder. */
function clampTime(entry: TreeEntry, newestSec: number): number {
  return Math.min(entry.mtimeSec, newestSec);
}

function addMissingParents(
  tree: Map<string, { entry: TreeEntry; origin: string }>,
  own: { uid: number; gid: number; mtimeSec: number },
): void {
  // Parents added on the way are visited too, and have theirs by then.
  for (const path of tree.keys()) {
    const parts = path.split('/');
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join('/');
      if (!tree.has(parent)) {
        tree.set(parent, {
          entry: { ...own, path: parent, kind: 'directory', mode: 0o755 },
          origin: 'parent',
        });
      }
    }
  }
}

/** One regular file of ours. */
export function ownFile(path: string, content: Content, mtimeSec: number, mode = 0o644): TreeEntry {
  return { path, kind: 'file', mode, uid: 0, gid: 0, mtimeSec, content };
}

/** One link of ours. */
export function ownLink(path: string, target: string, mtimeSec: number): TreeEntry {
  return { path, kind: 'symlink', mode: 0o777, uid: 0, gid: 0, mtimeSec, target };
}

/** One empty directory of ours. */
export function ownDirectory(path: string, mtimeSec: number, mode = 0o755): TreeEntry {
  return { path, kind: 'directory', mode, uid: 0, gid: 0, mtimeSec };
}
