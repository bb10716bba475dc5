import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseConfigText } from '../../../appliance/contract/config.ts';
import { paths } from '../../../appliance/contract/paths.ts';
import { readContent, textContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import { type BootInputs, bootFiles, readBootTexts } from '../../../builder/image/boot-files.ts';
import { planBootPartition } from '../../../builder/image/boot-partition.ts';
import { planDisk } from '../../../builder/image/plan-disk.ts';

const packageRoot = join(import.meta.dirname, '../../..');
const texts = await readBootTexts(packageRoot);
const inputs: BootInputs = {
  entry: { slot: 'a', title: 'Chatmail relay', version: '7', commandLine: 'panic=5 ro chatmail.slot=a' },
  kernel: textContent('kernel'),
  initramfs: textContent('initramfs'),
  efi: [
    { path: 'EFI/BOOT/BOOTX64.EFI', content: textContent('shim') },
    { path: 'EFI/BOOT/grubx64.efi', content: textContent('systemd-boot') },
  ],
  syslinux: {
    pieces: { bootSector: new Uint8Array(512), ldlinux: new Uint8Array(1024) },
    ldlinuxC32: textContent('c32'),
  },
  seed: '{"domain":"chat.example.org"}',
  texts,
  mtimeSec: 1_800_000_000,
};

const pathsOf = (entries: readonly TreeEntry[]): string[] => entries.map(({ path }) => path);

async function textOf(entries: readonly TreeEntry[], path: string): Promise<string> {
  const entry = entries.find((each) => each.path === path);
  if (entry?.kind !== 'file') throw new Error(`No file ${path}`);
  return Buffer.from(await readContent(entry.content, 100_000)).toString();
}

describe('bootFiles', () => {
  test('brings both loaders, slot a, an empty slot b, the seed and a note', () => {
    expect(pathsOf(bootFiles(inputs))).toEqual([
      'EFI',
      'EFI/BOOT',
      'EFI/BOOT/BOOTX64.EFI',
      'EFI/BOOT/grubx64.efi',
      'README.txt',
      'a',
      'a/initrd',
      'a/syslinux.cfg',
      'a/vmlinuz',
      'b',
      'chatmail.json',
      'loader',
      'loader/entries',
      'loader/entries/slot-a.conf',
      'loader/loader.conf',
      'startup.nsh',
      'syslinux',
      'syslinux/ldlinux.c32',
      'syslinux/ldlinux.sys',
      'syslinux/ptr.cfg',
      'syslinux/syslinux.cfg',
    ]);
  });

  test('puts the seed where the appliance looks for it', () => {
    expect(pathsOf(bootFiles(inputs)).map((path) => `/boot/${path}`)).toContain(paths.seed);
  });

  test('leaves a loader out that is not wanted, and takes what other firmware reads', () => {
    const config = { path: 'overlays/README', content: textContent('') };
    const entries = bootFiles({
      ...inputs,
      efi: [],
      syslinux: undefined,
      seed: undefined,
      firmware: [config],
    });
    expect(pathsOf(entries)).toEqual([
      'README.txt',
      'a',
      'a/initrd',
      'a/vmlinuz',
      'b',
      'overlays',
      'overlays/README',
    ]);
  });

  test('never sets a default in loader.conf: it would override the counting of tries', async () => {
    const text = await textOf(bootFiles(inputs), 'loader/loader.conf');
    expect(text).toMatch(/^timeout 0$/m);
    expect(text).not.toMatch(/^\s*default/m);
  });

  test('lets SYSLINUX fall back by itself', async () => {
    const text = await textOf(bootFiles(inputs), 'syslinux/syslinux.cfg');
    expect(text).toMatch(/^TIMEOUT 30$/m);
    expect(text).toMatch(/^INCLUDE \/syslinux\/ptr.cfg$/m);
    expect(await textOf(bootFiles(inputs), 'syslinux/ptr.cfg')).toMatch(/^DEFAULT a\nONERROR a\n/);
  });

  test('writes a note that any editor shows, with an example that works', async () => {
    const text = await textOf(bootFiles(inputs), 'README.txt');
    expect(text.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
    expect(text).toMatch(/^[\x20-\x7e\r\n]*$/);
    const example = /^ *(\{.*\})\r$/m.exec(text)?.[1] ?? '';
    expect(parseConfigText(example).domain).toMatchObject({ kind: 'name' });
  });
});

describe('planBootPartition', () => {
  test('says what does not fit', () => {
    const kernel = { ...textContent(''), sizeBytes: 400 * 1024 * 1024 };
    expect(() => planBootPartition(bootFiles({ ...inputs, kernel }), planDisk('x'))).toThrow(
      /need \d+ bytes/,
    );
  });
});
