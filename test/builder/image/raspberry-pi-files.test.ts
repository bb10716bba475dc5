import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  decodeRaspberryPiPointer,
  encodeRaspberryPiPointer,
  raspberryPiMaxLineLength,
} from '../../../appliance/contract/boot-layout.ts';
import { readContent, textContent } from '../../../builder/formats/tree.ts';
import { readBootTexts } from '../../../builder/image/boot-files.ts';
import { raspberryPiFiles } from '../../../builder/image/raspberry-pi-files.ts';

const { raspberryPiConfig, raspberryPiReadme } = await readBootTexts(join(import.meta.dirname, '../../..'));
const inputs = {
  entry: { slot: 'b', title: 'chatmail 1', version: '1', commandLine: 'panic=5 ro chatmail.slot=b' },
  firmware: [{ path: 'start.elf', content: textContent('firmware') }],
  deviceTrees: { 'bcm2837-rpi-3-b.dtb': textContent('tree') },
  overlays: { 'bcm2712d0.dtbo': new Uint8Array([1]) },
  config: raspberryPiConfig,
} as const;

describe('raspberryPiFiles', () => {
  test('keeps in the slot what belongs to it, and points config.txt at the slot', async () => {
    const files = raspberryPiFiles(inputs);
    expect(files.map(({ path }) => path)).toEqual([
      'start.elf',
      'config.txt',
      'b/cmdline.txt',
      'b/bcm2837-rpi-3-b.dtb',
      'b/overlays/README',
      'b/overlays/bcm2712d0.dtbo',
    ]);
    const bytesOf = async (path: string) =>
      readContent(files.find((file) => file.path === path)?.content ?? textContent(''), 4096);
    const config = await bytesOf('config.txt');
    expect(decodeRaspberryPiPointer(config)).toBe('b');
    expect(Buffer.from(await bytesOf('b/cmdline.txt')).toString()).toBe('panic=5 ro chatmail.slot=b\n');
  });
});

describe('templates/boot/config.txt', () => {
  const lines = raspberryPiConfig.split('\n');

  test('begins with the pointer, and has no line the firmware would cut off', () => {
    expect(decodeRaspberryPiPointer(Buffer.from(raspberryPiConfig))).toBe('a');
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(raspberryPiMaxLineLength);
  });

  test('names kernel and initramfs as the slot has them, and ends with settings for all boards', () => {
    expect(lines).toContain('kernel=vmlinuz');
    expect(lines).toContain('initramfs initrd followkernel');
    expect(lines.filter((line) => line.startsWith('[')).at(-1)).toBe('[all]');
    // Firmware takes a setting only at the start of a line, and no spaces around its equals sign.
    for (const line of lines)
      expect(line).toMatch(/^(|#.*|\[[a-z0-9]+\]|[a-z0-9_]+=\S+|initramfs initrd followkernel)$/);
  });

  test('is what the note beside it tells people to change', () => {
    expect(raspberryPiReadme).toContain('os_prefix=a/ or os_prefix=b/');
  });
});

describe('the pointer', () => {
  const sector = Buffer.from(raspberryPiConfig).subarray(0, 512);

  test('is changed by one letter, there and back', () => {
    const pointed = encodeRaspberryPiPointer(sector, 'b');
    expect(decodeRaspberryPiPointer(pointed)).toBe('b');
    expect(pointed.filter((byte, index) => byte !== sector[index])).toEqual(new Uint8Array([0x62]));
    expect(Buffer.compare(encodeRaspberryPiPointer(pointed, 'a'), sector)).toBe(0);
  });

  test.each(['os_prefix=a/\n', 'os_prefix=b/\r\n# edited on Windows\r\n', 'os_prefix=a/'])(
    'is read from %j',
    (text) => {
      expect(decodeRaspberryPiPointer(Buffer.from(text))).toBe(text.charAt(10));
    },
  );

  test.each([
    '',
    'os_prefix=a',
    'os_prefix=c/\n',
    'os_prefix=a/x\n',
    '# x\nos_prefix=a/\n',
    ' os_prefix=a/\n',
  ])('is not there in %j, and nothing is overwritten', (text) => {
    expect(decodeRaspberryPiPointer(Buffer.from(text))).toBeUndefined();
    expect(() => encodeRaspberryPiPointer(Buffer.from(text), 'a')).toThrow('neither os_prefix=a/ nor');
  });
});
