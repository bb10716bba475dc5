/**
 * What lies where on BOOT, and the few texts there that both the builder and an update on the device
 * write. Paths are relative to the root of BOOT. Everything that belongs to a slot is in its own directory,
 * but for the entry of systemd-boot, which looks in one place only.
 */
import type { Slot } from './disk-layout.ts';

export const bootPaths = {
  seed: 'chatmail.json',
  readme: 'README.txt',
  loaderConfig: 'loader/loader.conf',
  /** At most 16 directory entries in it, so that renaming one of its files writes one sector. */
  loaderEntries: 'loader/entries',
  syslinux: 'syslinux',
  syslinuxConfig: 'syslinux/syslinux.cfg',
  /** The loader itself; its last two sectors are the auxiliary data vector. */
  ldlinuxSys: 'syslinux/ldlinux.sys',
  ldlinuxC32: 'syslinux/ldlinux.c32',
  /** Which slot SYSLINUX boots: overwritten in place. */
  syslinuxPointer: 'syslinux/ptr.cfg',
  /** Read by a Raspberry Pi's firmware; its first line says which slot it boots. */
  raspberryPiConfig: 'config.txt',
  raspberryPiLicence: 'LICENCE-raspi-firmware.txt',
} as const;

/** The files of a slot in its directory `a` or `b`. */
export function slotPaths(slot: Slot) {
  return {
    directory: slot,
    kernel: `${slot}/vmlinuz`,
    initramfs: `${slot}/initrd`,
    syslinuxConfig: `${slot}/syslinux.cfg`,
    /** For a Raspberry Pi's firmware. Device trees lie beside it, overlays in a directory of their own. */
    commandLine: `${slot}/cmdline.txt`,
    overlays: `${slot}/overlays`,
  } as const;
}

/** Linux refuses more on x86 and arm64 (COMMAND_LINE_SIZE). */
const maxCommandLineBytes = 2047;

/**
 * The kernel command line of a slot, as templates/initramfs/init reads it.
 * @throws RangeError for what a boot loader's file cannot hold
 */
export function kernelCommandLine(options: {
  readonly slot: Slot;
  /** The target's own: consoles, panic, watchdog. */
  readonly arguments: readonly string[];
  /** Keeps the appliance off another disk's partitions of the same names. */
  readonly diskGuid?: string;
}): string {
  const own = ['ro', `chatmail.slot=${options.slot}`];
  if (options.diskGuid !== undefined) own.push(`chatmail.disk=${options.diskGuid}`);
  const line = [...options.arguments, ...own].join(' ');
  if (!/^[\x21-\x7e]+( [\x21-\x7e]+)*$/.test(line) || line.length > maxCommandLineBytes) {
    throw new RangeError(`${JSON.stringify(line)} is not a kernel command line`);
  }
  return line;
}

/** What a slot's boot entries say, whatever the loader. */
export interface SlotEntry {
  readonly slot: Slot;
  /** One line for people. */
  readonly title: string;
  /** The higher one of two slots is tried first (UAPI.10, version format specification). */
  readonly version: string;
  readonly commandLine: string;
}

/**
 * Path of a slot's entry for systemd-boot. With `triesLeft` it is on trial: systemd-boot counts down in the
 * name before it starts the kernel (systemd "Automatic Boot Assessment"), and boots another at zero.
 */
export function loaderEntryPath(slot: Slot, triesLeft?: number): string {
  return `${bootPaths.loaderEntries}/slot-${slot}${triesLeft === undefined ? '' : `+${triesLeft}`}.conf`;
}

/** The text of that entry (UAPI.1, boot loader specification, type 1). */
export function encodeLoaderEntry({ slot, title, version, commandLine }: SlotEntry): string {
  const { kernel, initramfs } = slotPaths(slot);
  // The same sort-key in both slots, or the version would not decide.
  return [
    `title ${title}`,
    'sort-key chatmail',
    `version ${version}`,
    `linux /${kernel}`,
    `initrd /${initramfs}`,
    `options ${commandLine}`,
    '',
  ].join('\n');
}

/** A slot's part of SYSLINUX's configuration, in the slot's own directory. */
export function encodeSyslinuxEntry({ slot, title, commandLine }: SlotEntry): string {
  const { kernel, initramfs } = slotPaths(slot);
  return [
    `LABEL ${slot}`,
    `  MENU LABEL ${title}`,
    `  LINUX /${kernel}`,
    `  INITRD /${initramfs}`,
    `  APPEND ${commandLine}`,
    '',
  ].join('\n');
}

/** One sector, so that overwriting it in place is one write. */
export const syslinuxPointerBytes = 512;

/**
 * SYSLINUX's default slot, also taken when another one's kernel does not load. Spaces fill the sector:
 * SYSLINUX skips them.
 */
export function encodeSyslinuxPointer(slot: Slot): Uint8Array {
  return new TextEncoder().encode(`DEFAULT ${slot}\nONERROR ${slot}\n`.padEnd(syslinuxPointerBytes));
}

/** The slot a pointer names, or undefined when it is none of ours. */
export function decodeSyslinuxPointer(bytes: Uint8Array): Slot | undefined {
  if (bytes.length !== syslinuxPointerBytes) return undefined;
  const slot = /^DEFAULT ([ab])\nONERROR \1\n *$/.exec(new TextDecoder().decode(bytes))?.[1];
  return slot === 'a' || slot === 'b' ? slot : undefined;
}

/** Firmware reads no more of a line than this (its documentation's limit for config.txt). */
export const raspberryPiMaxLineLength = 98;

/**
 * The pointer of a Raspberry Pi: the first line of config.txt. The firmware puts it before the names of
 * kernel, initramfs, command line, device trees and overlays (raspberrypi.com, config.txt, `os_prefix`).
 * Standing first, it is in the file's first sector however the rest was edited, and it has the same length
 * for both slots: overwriting it in place is one write.
 */
const raspberryPiPointer = /^os_prefix=([ab])\/\r?(?:\n|$)/;

/**
 * The slot that config.txt names, or undefined when its first line is none of ours.
 * @param config config.txt from its start: all of it, or its first sector
 */
export function decodeRaspberryPiPointer(config: Uint8Array): Slot | undefined {
  const slot = raspberryPiPointer.exec(new TextDecoder('latin1').decode(config.subarray(0, 16)))?.[1];
  return slot === 'a' || slot === 'b' ? slot : undefined;
}

/**
 * The same bytes with the pointer at `slot`; everything else stays.
 * @throws RangeError when the first line is no pointer
 */
export function encodeRaspberryPiPointer(config: Uint8Array, slot: Slot): Uint8Array {
  if (decodeRaspberryPiPointer(config) === undefined) {
    throw new RangeError('The first line of config.txt is neither os_prefix=a/ nor os_prefix=b/');
  }
  const pointed = Uint8Array.from(config);
  pointed.set(new TextEncoder().encode(slot), 'os_prefix='.length);
  return pointed;
}
