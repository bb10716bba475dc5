/** `node write-squashfs.ts DIRECTORY IMAGE LEVEL BLOCK`: a directory into an image, as mksquashfs would. */
import { createReadStream, type Stats } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { writeSquashfs } from '../../builder/formats/squashfs/write.ts';
import type { Content, TreeEntry } from '../../builder/formats/tree.ts';

function fileContent(path: string, sizeBytes: number): Content {
  return {
    sizeBytes,
    async *read(signal) {
      if (sizeBytes > 0) yield* createReadStream(path, { signal }) as AsyncIterable<Buffer>;
    },
  };
}

/** Entries of everything below `directory`. Hard links become links to the name that came first. */
async function readTree(directory: string): Promise<TreeEntry[]> {
  const firstNames = new Map<number, string>();
  const entries: TreeEntry[] = [];
  const visit = async (path: string): Promise<void> => {
    const stats = await lstat(join(directory, path));
    const first = stats.isDirectory() ? undefined : firstNames.get(stats.ino);
    firstNames.set(stats.ino, path);
    entries.push(await entryOf(join(directory, path), path, stats, first));
    if (!stats.isDirectory()) return;
    for (const name of (await readdir(join(directory, path))).sort()) {
      await visit(path === '' ? name : `${path}/${name}`);
    }
  };
  await visit('');
  return entries;
}

async function entryOf(full: string, path: string, stats: Stats, first?: string): Promise<TreeEntry> {
  const common = {
    path,
    mode: stats.mode & 0o7777,
    uid: stats.uid,
    gid: stats.gid,
    mtimeSec: Math.floor(stats.mtimeMs / 1000),
  };
  if (first !== undefined) return { ...common, kind: 'hardlink', target: first };
  if (stats.isDirectory()) return { ...common, kind: 'directory' };
  if (stats.isFile()) return { ...common, kind: 'file', content: fileContent(full, stats.size) };
  if (stats.isSymbolicLink()) return { ...common, kind: 'symlink', target: await readlink(full) };
  if (stats.isFIFO() || stats.isSocket()) return { ...common, kind: stats.isFIFO() ? 'fifo' : 'socket' };
  // glibc's dev_t: minor 7–0, major 19–8, minor 31–20.
  const [major, minor] = [(stats.rdev >> 8) & 0xfff, (stats.rdev & 0xff) | ((stats.rdev >> 12) & 0xfff00)];
  return { ...common, kind: stats.isBlockDevice() ? 'block' : 'character', major, minor };
}

const [directory = '', image = '', level = '', block = ''] = process.argv.slice(2);
await writeSquashfs(await readTree(directory), image, { level: Number(level), blockBytes: Number(block) });
