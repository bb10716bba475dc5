/**
 * The files of the BOOT partition: pure, from what the loaders, the kernel and the operator bring. Each
 * loader is a value here and can be left out: systemd-boot for UEFI, SYSLINUX for an old BIOS, and any
 * other files for firmware that reads its own.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  bootPaths,
  encodeLoaderEntry,
  encodeSyslinuxEntry,
  encodeSyslinuxPointer,
  loaderEntryPath,
  type SlotEntry,
  slotPaths,
} from '../../appliance/contract/boot-layout.ts';
import type { Slot } from '../../appliance/contract/disk-layout.ts';
import { ldlinuxSysBytes, type SyslinuxPieces } from '../formats/syslinux.ts';
import { bytesContent, type Content, textContent, type TreeEntry } from '../formats/tree.ts';

/** A file that goes to BOOT as it is. */
export interface BootFile {
  /** Relative to the root of BOOT. */
  readonly path: string;
  readonly content: Content;
}

/** Where in Debian's packages a file for BOOT comes from. */
export interface PackagedBootFile {
  readonly package: string;
  readonly source: string;
  readonly path: string;
}

/**
 * UEFI firmware starts the first of these, and each starts the next. The first is signed by Microsoft,
 * the second by Debian, so Secure Boot may stay on.
 */
export const efiLoaders = {
  x64: [
    { package: 'shim-signed', source: 'usr/lib/shim/shimx64.efi.signed', path: 'EFI/BOOT/BOOTX64.EFI' },
    {
      package: 'systemd-boot-efi-amd64-signed',
      source: 'usr/lib/systemd/boot/efi/systemd-bootx64.efi.signed',
      path: 'EFI/BOOT/grubx64.efi', // the name shim looks for
    },
  ],
  aa64: [
    { package: 'shim-signed', source: 'usr/lib/shim/shimaa64.efi.signed', path: 'EFI/BOOT/BOOTAA64.EFI' },
    {
      package: 'systemd-boot-efi-arm64-signed',
      source: 'usr/lib/systemd/boot/efi/systemd-bootaa64.efi.signed',
      path: 'EFI/BOOT/grubaa64.efi',
    },
  ],
} as const satisfies Readonly<Record<string, readonly PackagedBootFile[]>>;

/** Where the parts of SYSLINUX are in Debian's packages. */
export const syslinuxSources = {
  /** Holds the boot sector and ldlinux.sys (formats/syslinux.ts takes them out). */
  installer: { package: 'syslinux', source: 'usr/bin/syslinux' },
  ldlinuxC32: { package: 'syslinux-common', source: 'usr/lib/syslinux/modules/bios/ldlinux.c32' },
  /** Boot code for sector 0: starts the partition with the GPT attribute "legacy BIOS bootable". */
  mbr: { package: 'syslinux-common', source: 'usr/lib/syslinux/mbr/gptmbr.bin' },
} as const;

/** Texts of templates/boot that nothing is filled into. */
export interface BootTexts {
  readonly loaderConfig: string;
  readonly startupScript: string;
  readonly syslinuxConfig: string;
  readonly readme: string;
  readonly raspberryPiConfig: string;
  /** Follows the other one. */
  readonly raspberryPiReadme: string;
}

export interface BootInputs {
  readonly entry: SlotEntry;
  readonly kernel: Content;
  readonly initramfs: Content;
  /** UEFI loaders; without any, nothing of systemd-boot is written. */
  readonly efi: readonly BootFile[];
  readonly syslinux?: { readonly pieces: SyslinuxPieces; readonly ldlinuxC32: Content } | undefined;
  /** Whatever else firmware wants, such as that of a Raspberry Pi (raspberry-pi-files.ts). */
  readonly firmware?: readonly BootFile[];
  /** Text of chatmail.json. */
  readonly seed?: string | undefined;
  readonly texts: BootTexts;
  readonly mtimeSec: number;
}

/** @param packageRoot the directory that holds templates/ */
export async function readBootTexts(packageRoot: string, signal?: AbortSignal): Promise<BootTexts> {
  const read = (name: string) =>
    readFile(join(packageRoot, 'templates', 'boot', name), { encoding: 'utf8', signal });
  const [loaderConfig, startupScript, syslinuxConfig, readme, raspberryPiConfig, raspberryPiReadme] =
    await Promise.all([
      read('loader.conf'),
      read('startup.nsh'),
      read('syslinux.cfg'),
      read('README.txt'),
      read('config.txt'),
      read('README-raspberry-pi.txt'),
    ]);
  return { loaderConfig, startupScript, syslinuxConfig, readme, raspberryPiConfig, raspberryPiReadme };
}

/**
 * All files and directories of BOOT. The other slot's directory is there and empty. ldlinux.sys has its
 * final size and no content yet: boot-partition.ts fills it in, once it is known where it lies.
 */
export function bootFiles(inputs: BootInputs): TreeEntry[] {
  const { entry, texts } = inputs;
  const slot = slotPaths(entry.slot);
  const files: BootFile[] = [
    { path: slot.kernel, content: inputs.kernel },
    { path: slot.initramfs, content: inputs.initramfs },
    { path: bootPaths.readme, content: textContent(windowsLines(texts.readme)) },
    ...(inputs.firmware ?? []),
  ];
  if (inputs.seed !== undefined) files.push({ path: bootPaths.seed, content: textContent(inputs.seed) });
  if (inputs.efi.length > 0) files.push(...inputs.efi, ...systemdBootFiles(entry, texts));
  if (inputs.syslinux !== undefined) files.push(...syslinuxFiles(entry, texts, inputs.syslinux));
  return asTree(files, [otherSlot(entry.slot)], inputs.mtimeSec);
}

function systemdBootFiles(entry: SlotEntry, texts: BootTexts): BootFile[] {
  return [
    { path: bootPaths.loaderConfig, content: textContent(texts.loaderConfig) },
    { path: loaderEntryPath(entry.slot), content: textContent(encodeLoaderEntry(entry)) },
    // A loader that gives up lands in the firmware's shell; from there this starts the next attempt.
    { path: 'startup.nsh', content: textContent(windowsLines(texts.startupScript)) },
  ];
}

function syslinuxFiles(
  entry: SlotEntry,
  texts: BootTexts,
  { pieces, ldlinuxC32 }: { readonly pieces: SyslinuxPieces; readonly ldlinuxC32: Content },
): BootFile[] {
  return [
    { path: bootPaths.ldlinuxSys, content: bytesContent(new Uint8Array(ldlinuxSysBytes(pieces))) },
    { path: bootPaths.ldlinuxC32, content: ldlinuxC32 },
    { path: bootPaths.syslinuxConfig, content: textContent(texts.syslinuxConfig) },
    { path: bootPaths.syslinuxPointer, content: bytesContent(encodeSyslinuxPointer(entry.slot)) },
    { path: slotPaths(entry.slot).syslinuxConfig, content: textContent(encodeSyslinuxEntry(entry)) },
  ];
}

function asTree(
  files: readonly BootFile[],
  emptyDirectories: readonly string[],
  mtimeSec: number,
): TreeEntry[] {
  const own = { uid: 0, gid: 0, mtimeSec };
  const directories = new Set(emptyDirectories);
  for (const { path } of files) {
    for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) {
      directories.add(path.slice(0, slash));
    }
  }
  const entries = [
    ...[...directories].map((path): TreeEntry => ({ ...own, path, kind: 'directory', mode: 0o755 })),
    ...files.map(({ path, content }): TreeEntry => ({ ...own, path, kind: 'file', mode: 0o644, content })),
  ];
  return entries.sort((one, other) => (one.path < other.path ? -1 : one.path > other.path ? 1 : 0));
}

function otherSlot(slot: Slot): Slot {
  return slot === 'a' ? 'b' : 'a';
}

/** For editors and shells that know no other line ends. */
function windowsLines(text: string): string {
  return text.replaceAll('\n', '\r\n');
}
