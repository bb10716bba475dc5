/** Archives made by GNU tar and bsdtar, read by us and compared with what those tools list and unpack. */
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import {
  link,
  lstat,
  mkdir,
  mkdtempDisposable,
  readdir,
  readlink,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { openFileSource } from '../../../builder/formats/random-access.ts';
import { indexTar } from '../../../builder/formats/tar.ts';
import type { TreeEntry } from '../../../builder/formats/tree.ts';

const run = promisify(execFile);
const has = (tool: string) => spawnSync(tool, ['--version']).status === 0;

async function makeTree(root: string): Promise<void> {
  const deep = join(root, ...Array.from({ length: 12 }, (_, depth) => `${'directory'.repeat(4)}${depth}`));
  await mkdir(deep, { recursive: true });
  await writeFile(join(deep, 'n'.repeat(255)), 'deep');
  await writeFile(join(root, 'größe €'), 'x'.repeat(1_000_000), { mode: 0o4711 });
  await writeFile(join(root, 'empty'), '');
  await symlink('t'.repeat(400), join(root, 'long link'));
  await link(join(root, 'empty'), join(root, 'zz'));
  await link(join(deep, 'n'.repeat(255)), join(deep, 'm'.repeat(200)));
}

/** What a directory on disk has, in the words of a tree: kind, path, size or target, mode. */
async function walk(root: string, path = ''): Promise<string[]> {
  const lines: string[] = [];
  for (const name of await readdir(join(root, path))) {
    const below = path === '' ? name : `${path}/${name}`;
    const full = join(root, below);
    const status = await lstat(full);
    const mode = (status.mode & 0o7777).toString(8);
    if (status.isSymbolicLink()) lines.push(`${below} -> ${await readlink(full)}`);
    else if (status.isDirectory()) lines.push(`${below}/ ${mode}`, ...(await walk(root, below)));
    else lines.push(`${below} ${mode} ${await digest(createReadStream(full))}`);
  }
  return lines;
}

async function describeEntries(entries: readonly TreeEntry[]): Promise<string[]> {
  const byPath = new Map(entries.map((entry) => [entry.path, entry]));
  return Promise.all(
    entries
      .filter(({ path }) => path !== '')
      .map(async (entry) => {
        if (entry.kind === 'symlink') return `${entry.path} -> ${entry.target}`;
        if (entry.kind === 'directory') return `${entry.path}/ ${entry.mode.toString(8)}`;
        const file = entry.kind === 'hardlink' ? byPath.get(entry.target) : entry;
        if (file?.kind !== 'file') throw new Error(`${entry.path} is a ${entry.kind}`);
        return `${entry.path} ${file.mode.toString(8)} ${await digest(file.content.read())}`;
      }),
  );
}

async function digest(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
}

describe.skipIf(!has('tar') && !process.env['CI'])('indexTar', () => {
  test.each(['gnu', 'pax', 'oldgnu'])('reads what GNU tar writes as %s', async (format) => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'tar-'));
    const root = join(directory.path, 'root');
    await makeTree(root);
    const archive = join(directory.path, 'archive.tar');
    await run('tar', [`--format=${format}`, '-cf', archive, '-C', root, '.']);
    await using source = await openFileSource(archive);
    const entries = await indexTar(source);
    expect((await describeEntries(entries)).toSorted()).toEqual((await walk(root)).toSorted());
    expect(entries.filter(({ kind }) => kind === 'hardlink')).toHaveLength(2);
  });

  test.skipIf(!has('bsdtar'))('reads what bsdtar writes', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'tar-'));
    const root = join(directory.path, 'root');
    await makeTree(root);
    const archive = join(directory.path, 'archive.tar');
    await run('bsdtar', ['--format=pax', '-cf', archive, '-C', root, '.'], {
      env: { ...process.env, LC_ALL: 'C.UTF-8' },
    });
    await using source = await openFileSource(archive);
    expect((await describeEntries(await indexTar(source))).toSorted()).toEqual((await walk(root)).toSorted());
  });
});
