import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { bytesContent, readContent, textContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import { buildInitramfs, initramfsTree } from '../../../builder/rootfs/initramfs.ts';
import { findKernelModules, selectModules } from '../../../builder/rootfs/kernel-modules.ts';
import { encodeModule } from '../../fakes/kernel-module.ts';

const init = await readFile(join(import.meta.dirname, '../../../templates/initramfs/init'), 'utf8');

const packageFiles: TreeEntry[] = [
  ['fs/fat/fat', 'depends='],
  ['fs/fat/vfat', 'depends=fat', 'alias=fs-vfat'],
  ['drivers/ata/ahci', 'depends=', 'alias=pci:v*bc01sc06i01*'],
  ['drivers/watchdog/i6300esb', 'depends=', 'alias=pci:v00008086d000025ABsv*'],
].map(([path = '', ...fields]) => ({
  path: `usr/lib/modules/6.12.1/kernel/${path}.ko`,
  kind: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeSec: 1,
  content: bytesContent(encodeModule(`name=${path.split('/').at(-1)}`, ...fields)),
}));

async function inputs() {
  return {
    kernel: await findKernelModules(packageFiles),
    modules: ['i6300esb heartbeat=60', 'vfat'],
    busybox: textContent('busybox'),
    init,
    mtimeSec: 1_700_000_000,
  };
}

describe('buildInitramfs', () => {
  test('is a zstd frame of a cpio archive, the same every time', async () => {
    const first = await buildInitramfs(await inputs());
    expect(Buffer.from(first).readUInt32LE(0)).toBe(0xfd2fb528);
    expect(zstdDecompressSync(first).subarray(0, 6).toString()).toBe('070701');
    expect(Buffer.from(await buildInitramfs(await inputs())).equals(first)).toBe(true);
  });

  test('a module the kernel does not have is an error naming it', async () => {
    await expect(buildInitramfs({ ...(await inputs()), modules: ['frob'] })).rejects.toThrow('frob');
  });
});

describe('initramfsTree', () => {
  const textOf = async (tree: readonly TreeEntry[], path: string) => {
    const entry = tree.find((one) => one.path === path);
    if (entry?.kind !== 'file') throw new Error(`No ${path}`);
    return new TextDecoder().decode(await readContent(entry.content, 10_000));
  };

  test('loads watchdogs first and drivers only when asked for', async () => {
    const given = await inputs();
    const selection = await selectModules(given.kernel, ['vfat', 'ahci', 'i6300esb']);
    const tree = initramfsTree({ ...given, modules: ['vfat', 'ahci', 'i6300esb heartbeat=60'] }, selection);
    expect(await textOf(tree, 'etc/modules')).toBe('i6300esb\nvfat\n');
    expect(await textOf(tree, 'etc/modprobe.conf')).toBe('options i6300esb heartbeat=60\n');
    expect(await textOf(tree, 'lib/modules/6.12.1/modules.dep')).toBe(
      'fat.ko:\nvfat.ko: fat.ko\nahci.ko:\ni6300esb.ko:\n',
    );
    expect(await textOf(tree, 'lib/modules/6.12.1/modules.alias')).toContain(
      'alias pci:v*bc01sc06i01* ahci\n',
    );
  });

  test('has every command that /init calls', async () => {
    const given = await inputs();
    const paths = initramfsTree(given, await selectModules(given.kernel, [])).map(({ path }) => path);
    const called = ['mount', 'modprobe', 'watchdog', 'switch_root', 'reboot', 'usleep', 'sleep', 'sync'];
    expect(paths).toEqual(expect.arrayContaining(called.map((name) => `bin/${name}`)));
    for (const name of called) expect(init).toMatch(new RegExp(`\\b${name}\\b`));
    expect(paths).toEqual(expect.arrayContaining(['init', 'dev/console', 'dev/kmsg', 'bin/sh']));
  });
});
