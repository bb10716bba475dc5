import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtempDisposable, readdir, readFile, symlink, writeFile, copyFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  bootPaths,
  encodeLoaderEntry,
  encodeSyslinuxEntry,
  encodeSyslinuxPointer,
  kernelCommandLine,
  loaderEntryPath,
  type SlotEntry,
} from '../../../appliance/contract/boot-layout.ts';
import type { Slot } from '../../../appliance/contract/disk-layout.ts';
import { encodeSyslinuxAdv } from '../../../appliance/disk/syslinux-adv.ts';
import { replaceFile } from '../../../builder/formats/fat/plan.ts';
import { extractSyslinux } from '../../../builder/formats/syslinux.ts';
import { bytesContent, readContent, textContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import {
  type BootFile,
  bootFiles,
  efiLoaders,
  readBootTexts,
  syslinuxSources,
} from '../../../builder/image/boot-files.ts';
import { planBootPartition } from '../../../builder/image/boot-partition.ts';
import { planDisk } from '../../../builder/image/plan-disk.ts';
import { writeImage } from '../../../builder/image/write-image.ts';
import { buildInitramfs } from '../../../builder/rootfs/initramfs.ts';
import { findKernelModules } from '../../../builder/rootfs/kernel-modules.ts';
import { startMachine } from '../../../builder/vm/qemu-process.ts';
import { vmX86 } from '../../../images/vm-x86_64.ts';
import { unpackDebianPackages } from './debian-files.ts';

const run = promisify(execFile);
const tools = ['qemu-system-x86_64', 'mksquashfs', 'apt-get', 'dpkg-deb'];
const hasTools = tools.every((tool) => spawnSync(tool, ['--version']).error === undefined);

const packageRoot = join(import.meta.dirname, '../../..');
const ovmf = '/usr/share/OVMF/OVMF_CODE_4M.fd';
const firmwares = {
  bios: { kind: 'bios' },
  uefi: { kind: 'uefi', codePath: ovmf, load: 'pflash' },
} as const;
const consoles = ['console=tty0', 'console=ttyS0,115200', 'panic=5'];
const bootTimeoutMs = 90_000;
const mtimeSec = Date.UTC(2026, 10, 21) / 1000;

/** Init of the test's root: says what booted and what BOOT looks like through Debian's vfat. */
const rootInit = `#!/bin/sh
busybox dmesg -n 1
busybox echo "MARK $(busybox cat /proc/cmdline)"
cd /boot && busybox find . -type f -exec busybox sha256sum {} + | busybox sed 's/^/FILE /'
busybox echo MARK done
while :; do busybox sleep 60; done
`;

/** What the test's kernel does in slot b. */
const failingInit = `#!/bin/sh
echo "<2>MARK slot b tried" >/dev/kmsg
exit 1
`;

interface Parts {
  readonly file: (path: string) => Promise<Uint8Array>;
  readonly kernel: Uint8Array;
  readonly initramfs: Uint8Array;
  readonly failingInitramfs: Uint8Array;
  readonly root: Uint8Array;
}

async function gatherParts(scratch: string): Promise<Parts> {
  const debian = await unpackDebianPackages([
    ...vmX86.bootPackages,
    'linux-image-cloud-amd64',
    'busybox-static',
  ]);
  const file = (path: string): Promise<Uint8Array> => readFile(join(debian, path));
  const kernels = (await readdir(join(debian, 'boot'))).filter((name) => name.startsWith('vmlinuz-'));
  const kernelName = kernels.sort().at(-1) ?? 'vmlinuz';
  const release = kernelName.slice('vmlinuz-'.length);
  const own = { mode: 0o644, uid: 0, gid: 0, mtimeSec };
  const moduleFiles: TreeEntry[] = [];
  const modules = join('usr/lib/modules', release);
  for (const entry of await readdir(join(debian, modules), { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name).slice(debian.length + 1);
    if (entry.isFile())
      moduleFiles.push({ ...own, path, kind: 'file', content: bytesContent(await file(path)) });
  }
  const busybox = await file('usr/bin/busybox');
  const initramfs = async (init: string): Promise<Uint8Array> =>
    buildInitramfs({
      kernel: await findKernelModules(moduleFiles),
      modules: ['virtio_blk', 'squashfs', 'vfat', 'nls_cp437', 'nls_ascii', 'nls_iso8859_1', 'nls_utf8'],
      busybox: bytesContent(busybox),
      init,
      mtimeSec,
    });

  const root = join(scratch, 'root');
  for (const name of ['bin', 'sbin', 'dev', 'proc', 'sys', 'boot', 'run']) {
    await mkdir(join(root, name), { recursive: true });
  }
  await copyFile(join(debian, 'usr/bin/busybox'), join(root, 'bin/busybox'));
  await symlink('busybox', join(root, 'bin/sh'));
  await writeFile(join(root, 'sbin/init'), rootInit, { mode: 0o755 });
  await run('mksquashfs', [root, join(scratch, 'root.squashfs'), '-comp', 'zstd', '-noappend', '-quiet']);
  return {
    file,
    kernel: await file(join('boot', kernelName)),
    initramfs: await initramfs(await readFile(join(packageRoot, 'templates/initramfs/init'), 'utf8')),
    failingInitramfs: await initramfs(failingInit),
    root: await readFile(join(scratch, 'root.squashfs')),
  };
}

/** Names and sizes for Linux's vfat to read. */
const awkwardFiles: BootFile[] = [
  'empty',
  '.hidden',
  'a b',
  'Mixed.Txt',
  'plus+comma,[x]',
  'grüße.txt',
  'Грамота.txt',
  'n'.repeat(255),
  ...Array.from({ length: 100 }, (_, index) => `many-alike-${index}`),
].map((name) => ({
  path: `awkward/${name}`,
  content: textContent(name === 'empty' ? '' : name.repeat(name.length)),
}));

/** What slot b is given, beside its entries. */
interface SlotB {
  readonly state: 'trial' | 'committed';
  readonly kernel: Uint8Array;
  readonly initramfs: Uint8Array;
}

/** An image that boots slot a; or, with files for slot b, tries that one first. */
async function makeImage(path: string, parts: Parts, slotB?: SlotB): Promise<TreeEntry[]> {
  const disk = planDisk('test');
  const entryOf = (slot: Slot, version: string): SlotEntry => ({
    slot,
    version,
    title: `test ${slot}`,
    commandLine: kernelCommandLine({ slot, arguments: consoles, diskGuid: disk.diskGuid }),
  });
  const pieces = extractSyslinux(await parts.file(syslinuxSources.installer.source));
  const efi: BootFile[] = [];
  for (const { source, path: target } of efiLoaders.x64) {
    efi.push({ path: target, content: bytesContent(await parts.file(source)) });
  }
  const entryB = entryOf('b', '2');
  const trial: BootFile[] =
    slotB === undefined
      ? []
      : [
          { path: 'b/vmlinuz', content: bytesContent(slotB.kernel) },
          { path: 'b/initrd', content: bytesContent(slotB.initramfs) },
          { path: 'b/syslinux.cfg', content: textContent(encodeSyslinuxEntry(entryB)) },
          {
            path: loaderEntryPath('b', slotB.state === 'trial' ? 1 : undefined),
            content: textContent(encodeLoaderEntry(entryB)),
          },
        ];
  const entries = bootFiles({
    entry: entryOf('a', '1'),
    kernel: bytesContent(parts.kernel),
    initramfs: bytesContent(parts.initramfs),
    efi,
    syslinux: {
      pieces,
      ldlinuxC32: bytesContent(await parts.file(syslinuxSources.ldlinuxC32.source)),
    },
    firmware: [...trial, ...awkwardFiles],
    seed: '{"domain":"chat.example.org"}\n',
    texts: await readBootTexts(packageRoot),
    mtimeSec,
  });
  let boot = planBootPartition(entries, disk, pieces);
  if (slotB?.state === 'trial') {
    // What an update does on the device: mark slot b "boot once" in the last two sectors of ldlinux.sys.
    const extent = boot.extents.find((each) => each.path === bootPaths.ldlinuxSys);
    if (extent === undefined) throw new Error('No ldlinux.sys');
    const bytes = await readContent(extent.content, 1024 * 1024);
    const adv = encodeSyslinuxAdv({ bootOnce: 'b' });
    const patched = Buffer.concat([bytes.subarray(0, bytes.length - adv.length), adv]);
    boot = replaceFile(boot, bootPaths.ldlinuxSys, bytesContent(patched));
  }
  if (slotB?.state === 'committed') {
    boot = replaceFile(boot, bootPaths.syslinuxPointer, bytesContent(encodeSyslinuxPointer('b')));
  }
  const mbrCode = await parts.file(syslinuxSources.mbr.source);
  const root = bytesContent(parts.root);
  await writeImage(path, disk, { mbrCode, boot, root }, new AbortController().signal);
  const finals = new Map(boot.extents.map((each) => [each.path, each.content]));
  return entries.map((each) =>
    each.kind === 'file' ? { ...each, content: finals.get(each.path) ?? each.content } : each,
  );
}

/** Boots and waits for `pattern` on the console; gives all that was written there, and how long it took. */
async function boot(
  path: string,
  firmware: keyof typeof firmwares,
  pattern: RegExp,
): Promise<{ text: string; seconds: number }> {
  const signal = AbortSignal.timeout(bootTimeoutMs);
  const started = performance.now();
  await using machine = await startMachine(
    {
      qemu: 'qemu-system-x86_64',
      architecture: 'x86_64',
      accelerator: 'tcg',
      firmware: firmwares[firmware],
      disk: { path, format: 'raw' },
      memoryMb: 512,
      cpus: 1,
      forwards: [],
    },
    signal,
  );
  try {
    await machine.console.waitFor(pattern, { signal });
    return { text: machine.console.text, seconds: (performance.now() - started) / 1000 };
  } catch (error) {
    const lines = machine.console.lastLines(40).join('\n');
    throw new Error(`The guest did not come up:\n${lines}`, { cause: error });
  }
}

describe.skipIf(!hasTools && !process.env['CI'])('the image, booted', () => {
  let parts: Parts;
  let scratch: string;
  beforeAll(async () => {
    scratch = (await mkdtempDisposable(join(tmpdir(), 'boot-'))).path;
    parts = await gatherParts(scratch);
    return () => run('rm', ['-r', scratch]);
  });

  test.each(['bios', 'uefi'] as const)(
    'starts slot a from %s, and Linux reads every file of BOOT',
    async (firmware) => {
      const image = join(scratch, 'plain.img');
      const entries = await makeImage(image, parts);
      const { text, seconds } = await boot(image, firmware, /MARK done/);
      console.log(`${firmware}: up and BOOT read after ${seconds.toFixed(1)} s`);
      expect(text).toMatch(/MARK .*panic=5 ro chatmail\.slot=a chatmail\.disk=[0-9a-f-]{36}/);
      for (const entry of entries) {
        if (entry.kind !== 'file') continue;
        const bytes = await readContent(entry.content, 64 * 1024 * 1024);
        const digest = createHash('sha256').update(bytes).digest('hex');
        expect(text).toContain(`FILE ${digest}  ./${entry.path}`);
      }
    },
  );

  test.each([
    ['whose init dies', 'uefi', 'initramfs'],
    ['whose init dies', 'bios', 'initramfs'],
    ['whose kernel is garbage', 'bios', 'kernel'],
  ] as const)('falls back from a trial %s (%s)', async (_, firmware, broken) => {
    const image = join(scratch, 'trial.img');
    const garbage = Buffer.alloc(100_000, 'garbage');
    await makeImage(image, parts, {
      state: 'trial',
      kernel: broken === 'kernel' ? garbage : parts.kernel,
      initramfs: parts.failingInitramfs,
    });
    const { text, seconds } = await boot(image, firmware, /MARK done/);
    console.log(`${firmware}, ${broken} of b bad: slot a after ${seconds.toFixed(1)} s`);
    if (broken === 'initramfs') expect(text).toMatch(/MARK slot b tried[^]*Attempted to kill init/);
    expect(text.match(/MARK slot b tried/g)?.length ?? 0).toBe(broken === 'initramfs' ? 1 : 0);
    expect(text).toMatch(/MARK .*chatmail\.slot=a/);
    if (firmware === 'uefi') expect(text).toMatch(/FILE \S+ {2}\.\/loader\/entries\/slot-b\+0-1\.conf/);
  });

  test.each(['bios', 'uefi'] as const)('starts slot b from %s once it is committed', async (firmware) => {
    const image = join(scratch, 'committed.img');
    await makeImage(image, parts, {
      state: 'committed',
      kernel: parts.kernel,
      initramfs: parts.failingInitramfs,
    });
    const { text } = await boot(image, firmware, /MARK slot b tried/);
    expect(text).toMatch(/ommand line:.*chatmail\.slot=b/);
    expect(text).not.toMatch(/chatmail\.slot=a/);
  });
});
