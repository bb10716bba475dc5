/** unsquashfs and the kernel judge our squashfs images; mksquashfs sets the size to reach. */
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, mkdir, mkdtempDisposable, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { writeSquashfs, type SquashfsOptions } from '../../../../builder/formats/squashfs/write.ts';
import { openFileSource } from '../../../../builder/formats/random-access.ts';
import { indexTar } from '../../../../builder/formats/tar.ts';
import type { TreeEntry } from '../../../../builder/formats/tree.ts';
import { orderTree, type TreeName } from '../../../../builder/formats/tree-order.ts';
import { crowd, everything, file, hollow, noise } from './trees.ts';

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;
const hasTool = (tool: string) => spawnSync(tool, ['-version']).error === undefined;
const kernelHasSquashfs =
  spawnSync('sh', ['-c', 'modprobe squashfs; grep -q squashfs /proc/filesystems']).status === 0;
const environment = { ...process.env, TZ: 'UTC', LC_ALL: 'C.UTF-8' };

async function digest(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}

/** Every inode of a tree as one line; names of one inode get the same label. */
async function describeTree(names: readonly TreeName[]): Promise<string[]> {
  return Promise.all(
    names.map(async ({ path, inode: { entry, paths } }) => {
      const subdirectories = names.filter((other) => {
        return other.inode.entry.kind === 'directory' && other.path !== '' && parentOf(other.path) === path;
      }).length;
      const links = entry.kind === 'directory' ? 2 + subdirectories : paths.length;
      const common = `${JSON.stringify(path)} ${entry.mode.toString(8)} ${entry.uid}:${entry.gid} ${entry.mtimeSec}`;
      return `${common} links=${links} first=${JSON.stringify(paths[0])} ${entry.kind} ${await detailOf(entry)}`;
    }),
  );
}

const parentOf = (path: string) => path.slice(0, Math.max(0, path.lastIndexOf('/')));

async function detailOf(entry: TreeEntry): Promise<string> {
  switch (entry.kind) {
    case 'file':
      return `${entry.content.sizeBytes} ${await digest(entry.content.read())}`;
    case 'symlink':
      return entry.target;
    case 'character':
    case 'block':
      return `${entry.major},${entry.minor}`;
    default:
      return '';
  }
}

/** The same lines from a directory on disk. */
async function describeDisk(root: string): Promise<string[]> {
  const lines: { path: string; line: (first: string) => string; inode: number }[] = [];
  const visit = async (path: string): Promise<void> => {
    const full = Buffer.from(path === '' ? root : `${root}/${path}`);
    const status = await lstat(full);
    const device = `${(status.rdev >> 8) & 0xfff},${(status.rdev & 0xff) | ((status.rdev >> 12) & 0xfff00)}`;
    const [kind, detail] = status.isDirectory()
      ? ['directory', '']
      : status.isSymbolicLink()
        ? ['symlink', await readlink(full)]
        : status.isFile()
          ? ['file', `${status.size} ${await digest(createReadStream(full))}`]
          : status.isCharacterDevice()
            ? ['character', device]
            : status.isBlockDevice()
              ? ['block', device]
              : [status.isFIFO() ? 'fifo' : 'socket', ''];
    const common = `${JSON.stringify(path)} ${(status.mode & 0o7777).toString(8)} ${status.uid}:${status.gid}`;
    lines.push({
      path,
      inode: status.ino,
      line: (first) =>
        `${common} ${status.mtimeMs / 1000} links=${status.nlink} first=${JSON.stringify(first)} ${kind} ${detail}`,
    });
    if (kind === 'directory') {
      for (const name of await readdir(full)) await visit(path === '' ? name : `${path}/${name}`);
    }
  };
  await visit('');
  lines.sort((one, other) => Buffer.compare(Buffer.from(one.path), Buffer.from(other.path)));
  const firsts = new Map<number, string>();
  for (const { path, inode } of lines) if (!firsts.has(inode)) firsts.set(inode, path);
  return lines.map(({ line, inode }) => line(firsts.get(inode) ?? ''));
}

async function withImage<Result>(
  entries: Iterable<TreeEntry>,
  options: SquashfsOptions,
  use: (image: string, directory: string) => Promise<Result>,
): Promise<Result> {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'squashfs-'));
  const image = join(directory.path, 'image');
  const result = await writeSquashfs(entries, image, options);
  expect((await stat(image)).size).toBe(result.sizeBytes);
  expect(await digest(createReadStream(image))).toBe(result.sha256);
  return await use(image, directory.path);
}

async function mounted<Result>(image: string, directory: string, use: (root: string) => Promise<Result>) {
  const root = join(directory, 'mounted');
  await mkdir(root);
  await run('mount', ['-t', 'squashfs', '-o', 'loop,ro', image, root]);
  try {
    return await use(root);
  } finally {
    await run('umount', [root]);
  }
}

const variants: SquashfsOptions[] = [
  { level: 3 },
  { level: 15 },
  { level: 22, blockBytes: 1_048_576 },
  { level: 1, blockBytes: 4096 },
];

describe.skipIf(!hasTool('unsquashfs') && !process.env['CI'])('unsquashfs', () => {
  test('lists modes, owners, sizes, devices, times and link targets as they are', async () => {
    // A line a name, and unsquashfs shows device numbers as they were before minors of more than 8 bits.
    const tree = everything.filter(({ path, kind }) => !path.includes('\n') && kind !== 'block');
    const listing = await withImage(tree, { level: 3 }, async (image) => {
      return (await run('unsquashfs', ['-lln', '-d', 'ROOT', image], { env: environment })).stdout;
    });
    const lines = listing
      .split('\n')
      .filter((line) => line.includes(' ROOT'))
      .map((line) =>
        line
          .replace(/^(\S+ \S+) +/, '$1 ')
          .replace(/, +/, ',')
          .replace(/^(d\S+ \S+) \d+/, '$1 0'),
      );
    const expected = orderTree(tree).map(({ path, inode }) => listingLine(path, inode.entry));
    // unsquashfs lists depth first, we by path.
    expect(lines.toSorted()).toEqual(expected.toSorted());
  });

  test.skipIf(!isRoot).each(variants)('extracts every byte, %o', async (options) => {
    const tree = everything.filter(({ kind }) => kind !== 'socket');
    await withImage(tree, options, async (image, directory) => {
      const root = join(directory, 'extracted');
      const { stderr } = await run('unsquashfs', ['-no-progress', '-d', root, image], { env: environment });
      expect(stderr).toBe('');
      expect(await describeDisk(root)).toEqual(await describeTree(orderTree(tree)));
    });
  });

  test('an image of nothing, and one of a single empty file', async () => {
    for (const tree of [[], [file('a', { sizeBytes: 0, async *read() {} })]]) {
      await withImage(tree, {}, async (image) => {
        expect((await run('unsquashfs', ['-stat', image])).stdout).toContain('zstd');
        expect((await run('unsquashfs', ['-l', '-d', 'ROOT', image])).stdout).toContain('ROOT');
      });
    }
  });
});

describe.skipIf((!isRoot || !kernelHasSquashfs) && !process.env['CI'])('the kernel', () => {
  test.each(variants)('mounts it and sees the same tree, %o', async (options) => {
    await withImage(everything, options, async (image, directory) => {
      const seen = await mounted(image, directory, describeDisk);
      expect(seen).toEqual(await describeTree(orderTree(everything)));
    });
  });

  test('finds each of 10,000 names in one directory', async () => {
    await withImage(crowd(10_000), { level: 3 }, async (image, directory) => {
      await mounted(image, directory, async (root) => {
        // Lookups first: a directory that has been read would answer from the cache.
        for (let index = 0; index < 10_000; index++) {
          expect(await readFile(join(root, `crowd/entry number ${index}`), 'utf8')).toBe(`${index % 100}`);
        }
        await expect(lstat(join(root, 'crowd/entry number 10000'))).rejects.toThrow('ENOENT');
        expect(await readdir(join(root, 'crowd'))).toHaveLength(10_000);
      });
    });
  });

  test('a sparse file of more than 4 GiB', async () => {
    const ends = noise(1_000_000);
    const content = hollow(4.5 * 2 ** 30, ends);
    await withImage([file('big', content)], { level: 3 }, async (image, directory) => {
      expect((await stat(image)).size).toBeLessThan(2_200_000);
      await mounted(image, directory, async (root) => {
        const status = await stat(join(root, 'big'));
        expect(status.size).toBe(content.sizeBytes);
        expect(status.blocks * 512).toBeLessThan(2_500_000);
        const tail = createReadStream(join(root, 'big'), { start: content.sizeBytes - ends.length });
        expect(await digest(tail)).toBe(createHash('sha256').update(ends).digest('hex'));
      });
    });
  });
});

describe.skipIf(!hasTool('mksquashfs') && !process.env['CI'])('mksquashfs', () => {
  test('is at most 1 % smaller on the programs of this Node', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'squashfs-'));
    const names = ['typescript', 'vitest', 'fast-check', 'openpgp'];
    const source = join(directory.path, 'source');
    await mkdir(source);
    for (const name of names) await run('cp', ['-r', `node_modules/${name}`, source]);
    const reference = join(directory.path, 'reference');
    const flags = [
      '-comp',
      'zstd',
      '-Xcompression-level',
      '9',
      '-no-xattrs',
      '-all-root',
      '-quiet',
      '-no-progress',
    ];
    await run('mksquashfs', [source, reference, ...flags]);
    const archive = join(directory.path, 'archive.tar');
    await run('tar', ['-cf', archive, '-C', source, '.']);
    await using tar = await openFileSource(archive);
    const ours = await writeSquashfs(await indexTar(tar), join(directory.path, 'ours'), { level: 9 });
    expect(ours.sizeBytes).toBeLessThan((await stat(reference)).size * 1.01);
  });
});

function listingLine(path: string, entry: TreeEntry): string {
  const types = {
    file: '-',
    directory: 'd',
    symlink: 'l',
    character: 'c',
    block: 'b',
    fifo: 'p',
    socket: 's',
    hardlink: '?',
  };
  const bit = (mask: number, letter: string) => ((entry.mode & mask) === 0 ? '-' : letter);
  const special = (mask: number, x: number, letter: string) =>
    (entry.mode & mask) === 0 ? bit(x, 'x') : (entry.mode & x) === 0 ? letter.toUpperCase() : letter;
  const mode =
    types[entry.kind] +
    bit(0o400, 'r') +
    bit(0o200, 'w') +
    special(0o4000, 0o100, 's') +
    bit(0o040, 'r') +
    bit(0o020, 'w') +
    special(0o2000, 0o010, 's') +
    bit(0o004, 'r') +
    bit(0o002, 'w') +
    special(0o1000, 0o001, 't');
  const isDevice = entry.kind === 'character' || entry.kind === 'block';
  const size = isDevice ? `${entry.major},${entry.minor}` : sizeOf(entry);
  const time = new Date(entry.mtimeSec * 1000).toISOString().slice(0, 16).replace('T', ' ');
  const target = entry.kind === 'symlink' ? ` -> ${entry.target}` : '';
  return `${mode} ${entry.uid}/${entry.gid} ${size} ${time} ROOT${path === '' ? '' : '/'}${path}${target}`;
}

function sizeOf(entry: TreeEntry): number | string {
  if (entry.kind === 'file') return entry.content.sizeBytes;
  return entry.kind === 'symlink' ? Buffer.byteLength(entry.target) : 0;
}
