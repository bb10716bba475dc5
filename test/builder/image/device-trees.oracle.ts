/**
 * The boards that nobody here can try: what their device trees say is in them, held against the drivers
 * that the card brings, in the kernel, in the initramfs or in the root. Judged by names alone: it finds a
 * driver that was forgotten, not one that does not work. dtc and fdtoverlay judge our reading and writing.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../appliance/base/clock.ts';
import { decodeFdt, encodeFdt, type FdtNode, stringList } from '../../../builder/formats/fdt.ts';
import { moduleName } from '../../../builder/formats/modinfo.ts';
import { readContent } from '../../../builder/formats/tree.ts';
import { deviceTreeOverlay } from '../../../builder/image/device-tree-overlay.ts';
import { readAptSources } from '../../../builder/packages/apt-sources.ts';
import { PackageCache } from '../../../builder/packages/cache.ts';
import { chooseMirrors } from '../../../builder/packages/mirror.ts';
import { preparePackages } from '../../../builder/packages/prepare.ts';
import { unpackLocked, type UnpackedSet } from '../../../builder/packages/unpack.ts';
import { kernelModulesOf } from '../../../builder/rootfs/build-root.ts';
import {
  type KernelModules,
  matchesAlias,
  type SelectedModule,
  selectModules,
} from '../../../builder/rootfs/kernel-modules.ts';
import { rpiArm64 } from '../../../images/rpi-arm64.ts';
import { sharedCacheDirectory } from '../../vm/built-image.ts';

const hasDtc = spawnSync('dtc', ['--version']).error === undefined;
const { signal } = new AbortController();

/** Devices of which the device tree does not speak, since they sit on a bus that is asked. */
const busDevices = {
  watchdog: 'platform:bcm2835-wdt',
  cpufreq: 'platform:raspberrypi-cpufreq',
  xhciOfDwc3: 'platform:xhci-hcd',
  lan9514: 'usb:v0424pEC00d0200dcFFdsc00dp01icFFiscFFip00in00',
  lan7515: 'usb:v0424p7800d0300dcFFdsc00dpFFicFFiscFFip00in00',
  usbEthernetAdapter: 'usb:v0BDAp8153d3100dc00dsc00dp00icFFiscFFip00in00',
  usbDisk: 'usb:v0781p5583d0100dc00dsc00dp00ic08isc06ip50in00',
  /** BCM54213PE, behind the sockets of a Pi 4 and 5. */
  ethernetPhy: 'mdio:01100000000011011000010010100010',
  vl805: 'pci:v00001106d00003483sv00001106sd00003483bc0Csc03i30',
  rp1: 'pci:v00001DE4d00000001sv00000000sd00000000bc02sc00i00',
  /** What the kernel makes of `reset-gpios` (drivers/reset/core.c). */
  resetPin: 'auxiliary:reset.gpio',
  wifi43430: 'sdio:c00v02D0dA9A6',
  wifi43455: 'sdio:c00v02D0dA9BF',
} as const;

type BusDevice = keyof typeof busDevices;

/** What a part of a board is, by `compatible`, and what hangs on it. */
interface Part {
  readonly compatible?: string;
  readonly devices?: readonly BusDevice[];
}

type Role = 'SD card' | 'Ethernet' | 'USB' | 'Wi-Fi' | 'watchdog' | 'random numbers';
type Board = Readonly<Record<Role, readonly Part[]>>;

const pi3: Board = {
  'SD card': [{ compatible: 'brcm,bcm2835-sdhost' }],
  Ethernet: [{ compatible: 'usb424,ec00', devices: ['lan9514'] }],
  USB: [{ compatible: 'brcm,bcm2835-usb', devices: ['usbDisk'] }, { compatible: 'usb-nop-xceiv' }],
  'Wi-Fi': [
    { compatible: 'brcm,bcm2835-sdhci' },
    { compatible: 'brcm,bcm4329-fmac', devices: ['wifi43430'] },
  ],
  watchdog: [{ compatible: 'brcm,bcm2835-pm-wdt', devices: ['watchdog'] }],
  'random numbers': [{ compatible: 'brcm,bcm2835-rng' }],
};
const adapter: readonly Part[] = [{ devices: ['usbEthernetAdapter'] }];
const pi4: Board = {
  'SD card': [{ compatible: 'brcm,bcm2711-emmc2' }],
  Ethernet: [
    { compatible: 'brcm,bcm2711-genet-v5', devices: ['ethernetPhy'] },
    { compatible: 'brcm,genet-mdio-v5' },
  ],
  USB: [
    { compatible: 'brcm,bcm2711-pcie', devices: ['vl805', 'usbDisk'] },
    { compatible: 'raspberrypi,firmware-reset' },
  ],
  'Wi-Fi': [
    { compatible: 'brcm,bcm2835-sdhci' },
    { compatible: 'brcm,bcm4329-fmac', devices: ['wifi43455'] },
  ],
  watchdog: [{ compatible: 'brcm,bcm2835-pm-wdt', devices: ['watchdog'] }],
  'random numbers': [{ compatible: 'brcm,bcm2711-rng200' }],
};
const pi5: Board = {
  'SD card': [{ compatible: 'brcm,bcm2712-sdhci' }],
  Ethernet: [
    { compatible: 'brcm,bcm2712-pcie', devices: ['rp1'] },
    { compatible: 'brcm,bcm2712-mip' },
    { compatible: 'raspberrypi,rp1-clocks' },
    { compatible: 'raspberrypi,rp1-gpio' },
    { compatible: 'raspberrypi,rp1-gem', devices: ['ethernetPhy'] },
  ],
  USB: [{ compatible: 'snps,dwc3', devices: ['xhciOfDwc3', 'usbDisk'] }],
  'Wi-Fi': [
    { compatible: 'brcm,bcm2712-sdhci' },
    { compatible: 'brcm,bcm4329-fmac', devices: ['wifi43455'] },
  ],
  watchdog: [{ compatible: 'brcm,bcm2835-pm-wdt', devices: ['watchdog'] }],
  'random numbers': [{ compatible: 'brcm,bcm2711-rng200' }],
};
const boards: readonly (readonly [string, string, Board])[] = [
  ['Pi 3B', 'bcm2837-rpi-3-b.dtb', pi3],
  [
    'Pi 3B+',
    'bcm2837-rpi-3-b-plus.dtb',
    {
      ...pi3,
      Ethernet: [{ compatible: 'usb424,7800', devices: ['lan7515'] }, { compatible: 'usb424,2514' }],
      'Wi-Fi': [pi3['Wi-Fi'][0] ?? {}, { compatible: 'brcm,bcm4329-fmac', devices: ['wifi43455'] }],
    },
  ],
  [
    'Pi 3A+',
    'bcm2837-rpi-3-a-plus.dtb',
    {
      ...pi3,
      Ethernet: adapter,
      'Wi-Fi': [pi3['Wi-Fi'][0] ?? {}, { compatible: 'brcm,bcm4329-fmac', devices: ['wifi43455'] }],
    },
  ],
  ['Zero 2 W', 'bcm2837-rpi-zero-2-w.dtb', { ...pi3, Ethernet: adapter }],
  ['Pi 4B', 'bcm2711-rpi-4-b.dtb', pi4],
  ['Pi 400', 'bcm2711-rpi-400.dtb', pi4],
  ['CM4', 'bcm2711-rpi-cm4-io.dtb', pi4],
  ['Pi 5', 'bcm2712-rpi-5-b.dtb', pi5],
  ['Pi 5 (stepping D0)', 'bcm2712-d-rpi-5-b.dtb', pi5],
  // Debian has no device tree for it, and it gets that of the later Pi 5.
  ['Pi 500', 'bcm2712-rpi-500.dtb', pi5],
];

/** What drives these is compiled in and declares no alias: clocks, interrupts, memory, buses. */
const declaredInKernel =
  /^(fixed-clock|simple-bus|shared-dma-pool|brcm,bcm2836-l1-intc|brcm,bcm2836-armctrl-ic|arm,gic-400)$/;

interface Found {
  readonly node: FdtNode;
  /** From the root down. */
  readonly ancestors: readonly FdtNode[];
}

function* walk(node: FdtNode, ancestors: readonly FdtNode[] = []): Generator<Found> {
  yield { node, ancestors };
  for (const child of node.children) yield* walk(child, [...ancestors, node]);
}

const compatibleOf = (node: FdtNode): readonly string[] => stringList(node.properties.get('compatible'));

function isEnabled({ node, ancestors }: Found): boolean {
  return [...ancestors, node].every((one) =>
    ['okay', 'ok', undefined].includes(stringList(one.properties.get('status'))[0]),
  );
}

/** Nodes without which the driver of this one waits: power, pins, clocks. The first of each list counts. */
function suppliersOf(found: Found, all: readonly Found[]): readonly Found[] {
  const needs = /(-supply|-gpios|^pinctrl-\d|^clocks|^power-domains|^resets|^mboxes|^dmas|^mmc-pwrseq)$/;
  return [...found.node.properties]
    .filter(([name, value]) => needs.test(name) && value.length >= 4)
    .flatMap(([, value]) => {
      const phandle = Buffer.from(value).readUInt32BE(0);
      const target = all.find(({ node }) => {
        const own = node.properties.get('phandle');
        return own !== undefined && Buffer.from(own).readUInt32BE(0) === phandle;
      });
      if (target === undefined) return [];
      // Groups of pins belong to the controller above them.
      if (compatibleOf(target.node).length > 0) return [target];
      return (
        target.ancestors
          .map((node, depth) => ({ node, ancestors: target.ancestors.slice(0, depth) }))
          .findLast(({ node }) => compatibleOf(node).length > 0 && node.name !== '') ?? []
      );
    });
}

/** The modalias the kernel gives a node of a device tree (drivers/of/device.c). */
function modaliasOf(node: FdtNode): string {
  const [name = ''] = node.name.split('@', 1);
  return `of:N${name}T(null)${compatibleOf(node)
    .map((one) => `C${one}`)
    .join('')}`;
}

describe.skipIf(!hasDtc && !process.env['CI'])('device trees of the kernel for Raspberry Pis', () => {
  const stack = new AsyncDisposableStack();
  let packages: UnpackedSet;
  let kernel: KernelModules;
  let initramfs: readonly SelectedModule[];
  let root: readonly SelectedModule[];

  beforeAll(async () => {
    const cache = await PackageCache.open(sharedCacheDirectory(), systemClock.wallMs());
    const { architecture, suites, components, excludes, rootPackages } = rpiArm64;
    const { lock } = await preparePackages(
      {
        architecture,
        suites,
        components,
        wanted: rootPackages.filter((name) => name.startsWith('linux-image-')),
        alone: ['firmware-brcm80211', 'raspi-firmware'],
        excludes,
        npm: [],
        mirrors: chooseMirrors(undefined, await readAptSources()),
        cache,
      },
      { signal, clock: systemClock, env: process.env },
    );
    const isKernel = ({ name }: { readonly name: string }) => name.startsWith('linux-');
    packages = stack.use(
      await unpackLocked(cache, { ...lock, packages: lock.packages.filter(isKernel) }, signal),
    );
    kernel = await kernelModulesOf(packages.packages, signal);
    initramfs = (await selectModules(kernel, rpiArm64.initramfsModules, signal)).modules;
    root = (await selectModules(kernel, [...rpiArm64.initramfsModules, ...rpiArm64.rootModules], signal))
      .modules;
  });
  afterAll(() => stack.disposeAsync());

  async function deviceTree(name: string): Promise<Uint8Array> {
    const source = rpiArm64.loaders.raspberryPi?.files[name];
    const entry = packages.packages
      .flatMap(({ entries }) => entries)
      .find(({ path }) => path === `${kernel.directory}/dtb/broadcom/${source}`);
    if (entry?.kind !== 'file') throw new Error(`The card has no ${name}`);
    return readContent(entry.content, 1e6, signal);
  }

  /** Where a driver for `modalias` is, the earliest place first. */
  function placeOf(modalias: string): 'kernel' | 'initramfs' | 'root' | undefined {
    const matches = ({ aliases }: SelectedModule) => aliases.some((alias) => matchesAlias(alias, modalias));
    // Names of what is built in are kept with _ for -.
    const builtin = [...kernel.builtinAliases.keys()];
    if (builtin.some((alias) => matchesAlias(alias, moduleName(modalias)))) return 'kernel';
    if (initramfs.some(matches)) return 'initramfs';
    return root.some(matches) ? 'root' : undefined;
  }

  describe.each(boards)('%s, by %s', (_, name, board) => {
    let all: readonly Found[];
    beforeAll(async () => {
      all = [...walk(decodeFdt(await deviceTree(name)))].filter(isEnabled);
    });

    const partsOf = (compatible: string) => all.filter(({ node }) => compatibleOf(node).includes(compatible));

    test.each(Object.entries(board))('has what drives its %s', (role, parts) => {
      const mustBeEarly = role === 'SD card' || role === 'watchdog';
      const early = (place: string | undefined) => place === 'kernel' || place === 'initramfs';
      for (const { compatible, devices = [] } of parts) {
        if (compatible !== undefined) {
          const found = partsOf(compatible);
          expect(found, `${compatible} in ${name}`).not.toEqual([]);
          for (const one of found.flatMap((part) => [part, ...suppliersOf(part, all)])) {
            if (compatibleOf(one.node).some((word) => declaredInKernel.test(word))) continue;
            // Drivers on USB and SDIO ask by number, not by the name in the device tree.
            if (/^(usb424,(ec00|7800)|brcm,bcm4329-fmac)$/.test(compatibleOf(one.node)[0] ?? '')) continue;
            const modalias = modaliasOf(one.node);
            const place = placeOf(modalias);
            expect(place, `driver for ${modalias}`).toBeDefined();
            if (mustBeEarly) expect(early(place), `${modalias} in kernel or initramfs`).toBe(true);
          }
        }
        const hasResetPin = partsOf(compatible ?? '')
          .flatMap((part) => [part, ...suppliersOf(part, all)])
          .some(({ node }) => node.properties.has('reset-gpios'));
        for (const device of [...devices, ...(hasResetPin ? (['resetPin'] as const) : [])]) {
          const place = placeOf(busDevices[device]);
          expect(place, `driver for ${device}`).toBeDefined();
          if (mustBeEarly) expect(early(place), `${device} in kernel or initramfs`).toBe(true);
        }
      }
    });

    test('has firmware and settings for its Wi-Fi, its own or those for all', () => {
      const model = compatibleOf(all[0]?.node ?? { name: '', properties: new Map(), children: [] })[0] ?? '';
      const device = board['Wi-Fi'].flatMap(({ devices = [] }) => devices)[0];
      const chip = device === 'wifi43430' ? '43430' : '43455';
      const picked = packages.alone.flatMap((one) =>
        one.entries
          .map(({ path }) => path)
          .filter((path) => rpiArm64.pickedFiles[one.name]?.some((pattern) => pattern.test(path))),
      );
      const base = `usr/lib/firmware/brcm/brcmfmac${chip}-sdio`;
      expect(picked).toContain(`${base}.bin`);
      expect(picked).toContain(`${base}.clm_blob`);
      expect(picked.some((path) => path === `${base}.${model}.txt` || path === `${base}.txt`)).toBe(true);
    });

    test('is read and written by us as dtc reads it', async () => {
      const bytes = await deviceTree(name);
      expect(await sorted(encodeFdt(decodeFdt(bytes)))).toBe(await sorted(bytes));
    });
  });

  test('are all of this kernel, and a card without one of them would be noticed', () => {
    const known = boards.map(([, name]) => name).toSorted();
    expect(Object.keys(rpiArm64.loaders.raspberryPi?.files ?? {}).toSorted()).toEqual(known);
  });

  test('the overlay for the later Pi 5 makes its device tree of the first one’s', async () => {
    const overlays = Object.entries(rpiArm64.loaders.raspberryPi?.overlays ?? {});
    expect(overlays.map(([name]) => name)).toEqual(['bcm2712d0.dtbo']);
    await using directory = await mkdtempDisposable(join(tmpdir(), 'overlay-'));
    const path = (name: string) => join(directory.path, name);
    for (const [, { from, to }] of overlays) {
      const [before, after] = [await deviceTree(from), await deviceTree(to)];
      await writeFile(path('from.dtb'), before);
      await writeFile(path('overlay.dtbo'), deviceTreeOverlay(decodeFdt(before), decodeFdt(after)));
      const args = ['-i', path('from.dtb'), '-o', path('merged.dtb'), path('overlay.dtbo')];
      const { status, stderr } = spawnSync('fdtoverlay', args, { encoding: 'utf8' });
      expect(stderr).toBe('');
      expect(status).toBe(0);
      expect(dts(path('merged.dtb'))).toBe(await sorted(after));
    }
  });

  async function sorted(bytes: Uint8Array): Promise<string> {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'dtb-'));
    const path = join(directory.path, 'board.dtb');
    await writeFile(path, bytes);
    return dts(path);
  }
});

/** The source that dtc makes of a device tree, in its own order; without reservations, which we do not keep. */
function dts(path: string): string {
  const { status, stdout } = spawnSync('dtc', ['-q', '-s', '-I', 'dtb', '-O', 'dts', path], {
    encoding: 'utf8',
    maxBuffer: 16 * 1024 * 1024,
  });
  expect(status).toBe(0);
  return stdout.replaceAll(/^\/memreserve\/.*\n/gm, '');
}
