import { spawnSync } from 'node:child_process';
import { mkdtempDisposable, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeSquashfs } from '../../../builder/formats/squashfs/write.ts';
import { bytesContent, textContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import { planBootPartition } from '../../../builder/image/boot-partition.ts';
import { planDisk } from '../../../builder/image/plan-disk.ts';
import { writeImage } from '../../../builder/image/write-image.ts';
import { ownDirectory, ownFile, ownLink } from '../../../builder/rootfs/assemble.ts';
import { buildInitramfs } from '../../../builder/rootfs/initramfs.ts';
import {
  findKernelModules,
  type KernelModules,
  moduleTree,
  selectModules,
} from '../../../builder/rootfs/kernel-modules.ts';
import { vmX86 } from '../../../images/vm-x86_64.ts';
import { hasQemu, startTestVm, type TestVm } from '../../vm/qemu.ts';
import { unpackDebianPackages } from '../image/debian-files.ts';

const hasTools =
  hasQemu && ['apt-get', 'dpkg-deb'].every((tool) => spawnSync(tool, ['--version']).error === undefined);
const packageRoot = join(import.meta.dirname, '../../..');
const mtimeSec = Date.UTC(2026, 10, 21) / 1000;

/** Says what it finds, loads modules as the appliance does, and waits for the power button. */
const rootInit = `#!/bin/sh
export PATH=/bin
mount -t tmpfs tmpfs /run
echo "MARK seed $(cat /boot/chatmail.json)"
echo "MARK boot $(ls -ld /boot | cut -c1-10) $(grep ' /boot ' /proc/mounts)"
echo "MARK root $(grep ' / squashfs ' /proc/mounts)"
modprobe virtio-net && echo "MARK modprobe by name"
modprobe virtio:d00000001v00001AF4 && echo "MARK modprobe by alias"
modprobe ext4 && echo "MARK modprobe of a built-in module"
modprobe frob || echo "MARK no module frob"
modprobe button; modprobe evdev
mkdir -p /run/acpi/PWRF
printf '#!/bin/sh\\n/bin/poweroff -f\\n' >/run/acpi/PWRF/00000080
chmod 755 /run/acpi/PWRF/00000080
acpid -d -c /run/acpi >/dev/null 2>&1 &
echo "MARK up"
while :; do sleep 60; done
`;

interface Scene {
  readonly kernel: string;
  readonly initrd: string;
  readonly image: string;
  readonly diskGuid: string;
}

/** The modules of the target's kernel, out of the directory packages were unpacked to. */
async function readKernel(debian: string, release: string): Promise<KernelModules> {
  const directory = `usr/lib/modules/${release}`;
  const entries: TreeEntry[] = [];
  for (const entry of await readdir(join(debian, directory), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const content = bytesContent(await readFile(path));
    entries.push(ownFile(path.slice(debian.length + 1), content, mtimeSec));
  }
  return findKernelModules(entries);
}

async function makeRoot(kernel: KernelModules, busybox: Uint8Array, path: string): Promise<void> {
  const modules = moduleTree(await selectModules(kernel, vmX86.rootModules), mtimeSec);
  const directories = new Set(['boot', 'dev', 'proc', 'run', 'sys', 'usr', 'usr/bin', 'usr/sbin']);
  for (const { path: file } of modules) {
    const parts = file.split('/');
    for (let depth = 1; depth < parts.length; depth++) directories.add(parts.slice(0, depth).join('/'));
  }
  const commands = [
    'acpid',
    'cat',
    'chmod',
    'cut',
    'grep',
    'ls',
    'mkdir',
    'modprobe',
    'mount',
    'poweroff',
    'sh',
    'sleep',
  ];
  await writeSquashfs(
    [
      ...[...directories].map((directory) => ownDirectory(directory, mtimeSec)),
      ...['bin', 'lib', 'sbin'].map((name) => ownLink(name, `usr/${name}`, mtimeSec)),
      ownFile('usr/bin/busybox', bytesContent(busybox), mtimeSec, 0o755),
      ...commands.map((name) => ownLink(`usr/bin/${name}`, 'busybox', mtimeSec)),
      ownFile('usr/sbin/init', textContent(rootInit), mtimeSec, 0o755),
      ...modules,
    ],
    path,
    { level: 3 },
  );
}

async function makeScene(directory: string): Promise<Scene> {
  const debian = await unpackDebianPackages(['linux-image-cloud-amd64', 'busybox-static']);
  const kernelName = (await readdir(join(debian, 'boot')))
    .filter((name) => name.startsWith('vmlinuz-'))
    .sort()
    .at(-1);
  if (kernelName === undefined) throw new Error('The package has no kernel');
  const kernel = await readKernel(debian, kernelName.slice('vmlinuz-'.length));
  const busybox = await readFile(join(debian, 'usr/bin/busybox'));

  const initrd = join(directory, 'initrd');
  const initramfs = await buildInitramfs({
    kernel,
    modules: vmX86.initramfsModules,
    busybox: bytesContent(busybox),
    init: await readFile(join(packageRoot, 'templates/initramfs/init'), 'utf8'),
    mtimeSec,
  });
  await writeFile(initrd, initramfs);

  const root = join(directory, 'root.squashfs');
  await makeRoot(kernel, busybox, root);
  const disk = planDisk('initramfs test');
  const image = join(directory, 'disk.img');
  const seed = ownFile('chatmail.json', textContent('{"domain":"chat.example.org"}'), mtimeSec);
  await writeImage(
    image,
    disk,
    { boot: planBootPartition([seed], disk), root: bytesContent(await readFile(root)) },
    new AbortController().signal,
  );
  return { kernel: join(debian, 'boot', kernelName), initrd, image, diskGuid: disk.diskGuid };
}

describe.skipIf(!hasTools && !process.env['CI'])('the initramfs on Debian’s kernel', () => {
  const cleanup = new AsyncDisposableStack();
  let scene: Scene;

  beforeAll(async () => {
    const directory = cleanup.use(await mkdtempDisposable(join(tmpdir(), 'initramfs-')));
    scene = await makeScene(directory.path);
  });
  afterAll(() => cleanup.disposeAsync());

  const boot = (commandLine: string): Promise<TestVm> =>
    startTestVm(scene.image, {
      memoryMb: 512,
      directBoot: {
        kernel: scene.kernel,
        initrd: scene.initrd,
        commandLine: `console=tty0 console=ttyS0,115200 panic=5 ${commandLine}`,
      },
    });

  test('mounts root and BOOT of the disk asked for, and hands over', async () => {
    await using vm = await boot(`chatmail.slot=a chatmail.disk=${scene.diskGuid.toUpperCase()}`);
    await vm.waitForConsole(/MARK up/);
    expect(vm.text).toContain('MARK seed {"domain":"chat.example.org"}');
    expect(vm.text).toMatch(/MARK boot drwx------ \/dev\/vda1 \/boot vfat ro,nosuid,nodev,noexec,/);
    expect(vm.text).toMatch(/MARK root \/dev\/vda2 \/ squashfs ro,/);
    expect(vm.text).not.toMatch(/did not load|Unknown symbol/);
    for (const mark of ['by name', 'by alias', 'of a built-in module']) {
      expect(vm.text).toContain(`MARK modprobe ${mark}`);
    }
    expect(vm.text).toContain('MARK no module frob');

    await vm.waitForConsole(/Power Button \[PWRF\]/);
    const exit = await vm.powerOff();
    expect(exit).toMatchObject({ code: 0, reason: 'guest-shutdown' });
  });

  test('the reset button starts it again', async () => {
    await using vm = await boot('chatmail.slot=a');
    await vm.waitForConsole(/MARK up/);
    const { position } = vm;
    await vm.reboot();
    await vm.waitForConsole(/MARK up/, { from: position });
  });

  test.each([
    [
      'without a slot',
      '',
      /chatmail: initramfs: chatmail\.slot= on the kernel command line is '', not a or b/,
    ],
    ['with an empty root', 'chatmail.slot=b', /initramfs: cannot mount \/dev\/vda3 \(ROOT-B\) as squashfs/],
    [
      'with another disk’s GUID',
      'chatmail.slot=a chatmail.disk=00000000-1111-2222-3333-444444444444',
      /initramfs: no disk with partitions BOOT and ROOT-A and GUID 00000000-1111-.* within 30 seconds/,
    ],
  ])('%s it says so and reboots', async (_, commandLine, complaint) => {
    await using vm = await boot(commandLine);
    await vm.waitForConsole(complaint);
    const { position } = vm;
    await vm.waitForConsole(/initramfs started/, { from: position });
  });

  test('the console loses nothing while this process is busy', async () => {
    await using vm = await boot('quiet rdinit=/bin/sh');
    await vm.waitForConsole(/~ # /);
    vm.vm.machine.type('i=0; while [ $i -lt 20000 ]; do echo Line$i; i=$((i+1)); done; echo The"End"\n');
    await vm.waitForConsole(/Line10\n/);
    const busyUntil = performance.now() + 3000;
    while (performance.now() < busyUntil);
    await vm.waitForConsole(/TheEnd/);
    const lines = [...vm.text.matchAll(/^Line(\d+)$/gm)].map((match) => Number(match[1]));
    expect(lines).toEqual(Array.from({ length: 20_000 }, (_, index) => index));
  });

  test('the watchdog resets a machine that nobody cares for', async () => {
    await using vm = await boot('chatmail.slot=a chatmail.watchdog=8');
    await vm.waitForConsole(/initramfs: watchdog started, 8 seconds/);
    const { position } = vm;
    await vm.waitForConsole(/MARK up/);
    await vm.waitForConsole(/initramfs started/, { from: position });
  });
});
