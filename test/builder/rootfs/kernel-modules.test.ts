import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { bytesContent, readContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import {
  findKernelModules,
  matchesAlias,
  moduleTree,
  selectModules,
} from '../../../builder/rootfs/kernel-modules.ts';
import { encodeModule } from '../../fakes/kernel-module.ts';

const directory = 'usr/lib/modules/6.12.1-test';

const bytes = (text: string) => new TextEncoder().encode(text);

function file(path: string, content: Uint8Array): TreeEntry {
  return { path, kind: 'file', mode: 0o644, uid: 0, gid: 0, mtimeSec: 7, content: bytesContent(content) };
}

function packageOf(modules: Readonly<Record<string, readonly string[]>>): TreeEntry[] {
  return [
    ...Object.entries(modules).map(([path, fields]) =>
      file(`${directory}/kernel/${path}.ko`, encodeModule(...fields)),
    ),
    file(`${directory}/modules.builtin`, bytes('kernel/fs/ext4/ext4.ko\nkernel/lib/crc32c-generic.ko\n')),
    file(`${directory}/modules.builtin.modinfo`, bytes('crc32c_generic.alias=crypto-crc32c\0')),
    file('boot/vmlinuz', new Uint8Array(4)),
  ];
}

const fat = packageOf({
  'fs/fat/vfat': [
    'name=vfat',
    'depends=fat',
    'alias=fs-vfat',
    'softdep=pre: crypto-crc32c nls-ascii unheard-of',
  ],
  'fs/fat/fat': ['name=fat', 'depends=base-thing', 'alias=fs-fat'],
  'lib/base-thing': ['name=base_thing', 'depends='],
  'nls/nls_ascii': ['name=nls_ascii', 'depends='],
  'fs/other': ['name=other', 'depends=fat'],
});

async function textOf(tree: readonly TreeEntry[], name: string): Promise<string> {
  const entry = tree.find(({ path }) => path === `${directory}/${name}`);
  if (entry?.kind !== 'file') throw new Error(`No ${name}`);
  return new TextDecoder().decode(await readContent(entry.content, 1e6));
}

describe('findKernelModules', () => {
  test('lists files and built-in modules under one name', async () => {
    const kernel = await findKernelModules(fat);
    expect(kernel).toMatchObject({ release: '6.12.1-test', directory });
    expect([...kernel.files.keys()].sort()).toEqual(['base_thing', 'fat', 'nls_ascii', 'other', 'vfat']);
    expect([...kernel.builtin]).toEqual(['ext4', 'crc32c_generic']);
  });

  test('two kernels in one image are an error naming both', async () => {
    const two = [...fat, file('usr/lib/modules/7.2.0/kernel/a.ko', encodeModule('name=a'))];
    await expect(findKernelModules(two)).rejects.toThrow('6.12.1-test and 7.2.0');
  });

  test('no kernel is an error', async () => {
    await expect(findKernelModules([])).rejects.toThrow('kernel modules');
  });
});

describe('selectModules', () => {
  test('each module comes after all it needs, and only once', async () => {
    const { modules } = await selectModules(await findKernelModules(fat), ['vfat', 'other', 'fat']);
    expect(modules.map(({ name }) => name)).toEqual(['nls_ascii', 'base_thing', 'fat', 'vfat', 'other']);
    expect(modules.find(({ name }) => name === 'vfat')?.before).toEqual(['nls_ascii', 'base_thing', 'fat']);
  });

  test('what is built in is told apart', async () => {
    const { modules, builtin } = await selectModules(await findKernelModules(fat), [
      'ext4',
      'crc32c-generic',
    ]);
    expect(modules).toEqual([]);
    expect(builtin).toEqual(['ext4', 'crc32c_generic']);
  });

  test('a wanted module that the kernel does not have is an error naming it', async () => {
    const kernel = await findKernelModules(fat);
    await expect(selectModules(kernel, ['fat', 'iTCO_wdt'])).rejects.toThrow('no module iTCO_wdt');
  });

  test('a dependency that is missing names both', async () => {
    const kernel = await findKernelModules(packageOf({ a: ['name=a', 'depends=gone'] }));
    await expect(selectModules(kernel, ['a'])).rejects.toThrow('a needs gone');
  });

  test('a circle is an error, not an endless loop', async () => {
    const kernel = await findKernelModules(
      packageOf({ a: ['name=a', 'depends=b'], b: ['name=b', 'depends=a'] }),
    );
    await expect(selectModules(kernel, ['a'])).rejects.toThrow('a → b → a');
  });

  test('a soft circle is none', async () => {
    const kernel = await findKernelModules(
      packageOf({ a: ['name=a', 'depends=', 'softdep=post: b'], b: ['name=b', 'depends=a'] }),
    );
    const { modules } = await selectModules(kernel, ['b']);
    expect(modules.map(({ name }) => name)).toEqual(['a', 'b']);
  });

  test('compressed modules are unpacked', async () => {
    const plain = encodeModule('name=a', 'depends=b');
    const kernel = await findKernelModules([
      file(`${directory}/kernel/a.ko.zst`, zstdCompressSync(plain)),
      file(`${directory}/kernel/b.ko.gz`, gzipSync(encodeModule('name=b'))),
    ]);
    const { modules } = await selectModules(kernel, ['a']);
    expect(modules.map(({ path }) => path)).toEqual(['kernel/b.ko.gz', 'kernel/a.ko.zst']);
    expect(Buffer.from(plain).equals(modules[1]?.bytes ?? new Uint8Array())).toBe(true);
  });

  test('a damaged module is named', async () => {
    const kernel = await findKernelModules([file(`${directory}/kernel/a.ko`, new Uint8Array(70))]);
    await expect(selectModules(kernel, ['a'])).rejects.toThrow(
      `/${directory}/kernel/a.ko: Not a little-endian`,
    );
  });
});

describe('moduleTree', () => {
  test('writes what busybox modprobe looks things up in', async () => {
    const selection = await selectModules(await findKernelModules(fat), ['vfat']);
    const tree = moduleTree(selection, 7);
    expect(await textOf(tree, 'modules.dep')).toBe(
      [
        'kernel/nls/nls_ascii.ko:',
        'kernel/lib/base-thing.ko:',
        'kernel/fs/fat/fat.ko: kernel/lib/base-thing.ko',
        'kernel/fs/fat/vfat.ko: kernel/fs/fat/fat.ko kernel/lib/base-thing.ko kernel/nls/nls_ascii.ko',
        '',
      ].join('\n'),
    );
    expect(await textOf(tree, 'modules.alias')).toBe('alias fs-fat fat\nalias fs-vfat vfat\n');
    expect(await textOf(tree, 'modules.builtin')).toContain('ext4.ko\n');
    expect(tree.filter(({ path }) => path.endsWith('.ko'))).toHaveLength(4);
  });
});

describe('matchesAlias', () => {
  test.each([
    ['virtio:d00000001v*', 'virtio:d00000001v00001AF4', true],
    ['virtio:d00000001v*', 'virtio:d00000002v00001AF4', false],
    ['of:N*T*Cbrcm,bcm2835-sdhost', 'of:NmmcT(null)Cbrcm,bcm2835-sdhost', true],
    ['of:N*T*Cbrcm,bcm2835-sdhost', 'of:NmmcT(null)Cbrcm,bcm2835-sdhostX', false],
    ['usb:v0424pEC00d*', 'usb:v0424pEC00d0200dc', true],
    ['usb:v12D1p*ic0[0-3]in*', 'usb:v12D1p1ic02in5', true],
    ['usb:v12D1p*ic0[0-3]in*', 'usb:v12D1p1ic04in5', false],
    ['a[!x]c', 'abc', true],
    ['a.c', 'abc', false],
  ])('%s and %s: %s', (alias, modalias, expected) => {
    expect(matchesAlias(alias, modalias)).toBe(expected);
  });
});
