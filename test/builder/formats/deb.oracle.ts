/** Packages made by dpkg-deb, taken apart by ar, decompress and tar together. */
import { execFile, spawnSync } from 'node:child_process';
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { readArMembers } from '../../../builder/formats/ar.ts';
import { decompress } from '../../../builder/formats/decompress.ts';
import { bytesSource, openFileSource, sliceContent } from '../../../builder/formats/random-access.ts';
import { indexTar } from '../../../builder/formats/tar.ts';
import { readContent } from '../../../builder/formats/tree.ts';
import { collect } from './sample-tree.ts';
import { noise } from './squashfs/trees.ts';

const run = promisify(execFile);
const hasDpkg = spawnSync('dpkg-deb', ['--version']).status === 0;
const control =
  'Package: sample\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: x\n';

describe.skipIf(!hasDpkg && !process.env['CI'])('dpkg-deb', () => {
  // xz -1 has blocks of 3 MiB, written side by side; -9 has the largest dictionary there is.
  test.each([
    ['data.tar.xz', '-Zxz', '-z1'],
    ['data.tar.xz', '-Zxz', '-z9'],
    ['data.tar.zst', '-Zzstd', '-z19'],
    ['data.tar.gz', '-Zgzip', '-z6'],
    ['data.tar', '-Znone'],
  ])('%s made with %s %s', async (name, ...flags) => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'deb-'));
    const root = join(directory.path, 'root');
    await mkdir(join(root, 'DEBIAN'), { recursive: true });
    await mkdir(join(root, 'usr/share'), { recursive: true });
    await writeFile(join(root, 'DEBIAN/control'), control);
    const bytes = noise(10_000_000);
    await writeFile(join(root, 'usr/share/noise'), bytes);
    const deb = join(directory.path, 'sample.deb');
    await run('dpkg-deb', [
      '--root-owner-group',
      '--threads-max=2',
      ...flags.filter(Boolean),
      '-b',
      root,
      deb,
    ]);

    await using source = await openFileSource(deb);
    const members = await readArMembers(source);
    expect(members.map((member) => member.name).filter((member) => !member.startsWith('control.'))).toEqual([
      'debian-binary',
      name,
    ]);
    const member = members.at(-1);
    if (member === undefined) throw new Error('No members');
    const packed = sliceContent(source, member.offset, member.sizeBytes);
    const plain = await collect(decompress(packed.read(), { maxOutputBytes: 20_000_000 }));
    const entries = await indexTar(bytesSource(plain, name));
    expect(entries.map(({ path, kind, uid }) => [path, kind, uid])).toEqual([
      ['', 'directory', 0],
      ['usr', 'directory', 0],
      ['usr/share', 'directory', 0],
      ['usr/share/noise', 'file', 0],
    ]);
    const file = entries[3];
    if (file?.kind !== 'file') throw new Error('Not a file');
    expect(Buffer.compare(await readContent(file.content, bytes.length), bytes)).toBe(0);
  });
});
