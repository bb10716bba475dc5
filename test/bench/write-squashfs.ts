/** `node write-squashfs.ts DIRECTORY IMAGE LEVEL BLOCK`: a directory into an image, as mksquashfs would. */
import { createReadStream } from 'node:fs';
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

/** Everything below `directory`, as entries. Hard links become links to the first name that is met. */
async function readTree(directory: string): Promise<TreeEntry[]> {
  const names = await readdir(directory, { recursive: true });
  const firstNames = new Map<number, string>();
  const entries: TreeEntry[] = [];
  for (const path of ['', ...names.toSorted()]) {
    const full = join(directory, path);
    const stats = await lstat(full);
    const common = {
      path,
      mode: stats.mode & 0o7777,
      uid: stats.uid,
      gid: stats.gid,
      mtimeSec: Math.floor(stats.mtimeMs / 1000),
    };
    const first = stats.nlink > 1 && !stats.isDirectory() ? firstNames.get(stats.ino) : undefined;
    if (first !== undefined) {
      entries.push({ ...common, kind: 'hardlink', target: first });
      continue;
    }
    firstNames.set(stats.ino, path);
    if (stats.isDirectory()) entries.push({ ...common, kind: 'directory' });
    else if (stats.isFile()) {
      entries.push({ ...common, kind: 'file', content: fileContent(full, stats.size) });
    } else if (stats.isSymbolicLink()) {
      entries.push({ ...common, kind: 'symlink', target: await readlink(full) });
    } else if (stats.isCharacterDevice() || stats.isBlockDevice()) {
      // glibc's dev_t: minor 7–0, major 19–8, minor 31–20.
      const [major, minor] = [
        (stats.rdev >> 8) & 0xfff,
        (stats.rdev & 0xff) | ((stats.rdev >> 12) & 0xfff00),
      ];
      entries.push({ ...common, kind: stats.isBlockDevice() ? 'block' : 'character', major, minor });
    } else entries.push({ ...common, kind: stats.isFIFO() ? 'fifo' : 'socket' });
  }
  return entries;
}

const [directory = '', image = '', level = '', block = ''] = process.argv.slice(2);
await writeSquashfs(await readTree(directory), image, { level: Number(level), blockBytes: Number(block) });
