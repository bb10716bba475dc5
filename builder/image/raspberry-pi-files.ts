/**
 * What a Raspberry Pi's firmware wants on BOOT: itself, config.txt, and in the slot's directory the command
 * line and the device trees, under the names it looks for (raspberrypi.com, config.txt). Pure. A Pi 5 has
 * its firmware in its EEPROM, and takes config.txt alone.
 */
import {
  bootPaths,
  encodeRaspberryPiPointer,
  type SlotEntry,
  slotPaths,
} from '../../appliance/contract/boot-layout.ts';
import { bytesContent, type Content, textContent } from '../formats/tree.ts';
import type { BootFile, PackagedBootFile } from './boot-files.ts';

const firmwarePackage = 'raspi-firmware';

/** Pi 3 and Zero 2 W start with the first three, a Pi 4 with the other two. */
const firmwareNames = ['bootcode.bin', 'start.elf', 'fixup.dat', 'start4.elf', 'fixup4.dat'] as const;

/** Firmware with its licence, which has to go with it. */
export const raspberryPiFirmware: readonly PackagedBootFile[] = [
  ...firmwareNames.map((path) => ({
    package: firmwarePackage,
    source: `usr/lib/raspi-firmware/${path}`,
    path,
  })),
  {
    package: firmwarePackage,
    source: `usr/share/doc/${firmwarePackage}/copyright`,
    path: bootPaths.raspberryPiLicence,
  },
];

export interface RaspberryPiInputs {
  readonly entry: SlotEntry;
  readonly firmware: readonly BootFile[];
  /** By their names on BOOT. */
  readonly deviceTrees: Readonly<Record<string, Content>>;
  readonly overlays: Readonly<Record<string, Uint8Array>>;
  /** templates/boot/config.txt. */
  readonly config: string;
}

/** The files of BOOT that only a Raspberry Pi has. */
export function raspberryPiFiles(inputs: RaspberryPiInputs): BootFile[] {
  const { entry, firmware, deviceTrees, overlays, config } = inputs;
  const slot = slotPaths(entry.slot);
  const pointed = encodeRaspberryPiPointer(new TextEncoder().encode(config), entry.slot);
  return [
    ...firmware,
    { path: bootPaths.raspberryPiConfig, content: bytesContent(pointed) },
    { path: slot.commandLine, content: textContent(`${entry.commandLine}\n`) },
    ...Object.entries(deviceTrees).map(([name, content]) => ({ path: `${slot.directory}/${name}`, content })),
    // Without a file of this name the firmware looks for overlays outside the slot.
    { path: `${slot.overlays}/README`, content: textContent('Overlays for the device trees beside.\n') },
    ...Object.entries(overlays).map(([name, bytes]) => ({
      path: `${slot.overlays}/${name}`,
      content: bytesContent(bytes),
    })),
  ];
}
