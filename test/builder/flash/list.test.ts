/**
 * What the systems' tools say of their disks, in listings/. lsblk-virtual.json was recorded from lsblk 2.38.1;
 * the others are put together in the format of the tools, since no such machine was at hand: lsblk-laptop
 * in that of lsblk 2.38.1, diskutil-* in that of macOS 14, get-disk.json in that of the script in
 * builder/flash/get-disk.ts.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { diskTable, removableDisks } from '../../../builder/flash/choose.ts';
import { refusal } from '../../../builder/flash/disk.ts';
import { parseDiskutilInfo, parseDiskutilList, wholeDisks } from '../../../builder/flash/diskutil.ts';
import { ejectCommands } from '../../../builder/flash/eject.ts';
import { parseGetDisk } from '../../../builder/flash/get-disk.ts';
import { toolEnvironment } from '../../../builder/flash/list-disks.ts';
import { parseLsblk } from '../../../builder/flash/lsblk.ts';
import { decodePlist } from '../../../builder/flash/plist.ts';
import { stick } from './sample.ts';

const listing = (name: string) => readFile(join(import.meta.dirname, 'listings', name), 'utf8');

describe('parseLsblk', () => {
  test('tells a stick and a card from the disks of a laptop', async () => {
    const disks = parseLsblk(await listing('lsblk-laptop.json'));
    expect(disks.map(({ name, isRemovable, isSystem }) => ({ name, isRemovable, isSystem }))).toEqual([
      { name: 'sda', isRemovable: true, isSystem: false },
      { name: 'sdb', isRemovable: true, isSystem: false },
      { name: 'mmcblk0', isRemovable: true, isSystem: false },
      { name: 'nvme0n1', isRemovable: false, isSystem: true },
    ]);
    const [mounted, locked, card] = disks;
    expect(mounted).toMatchObject({
      path: '/dev/sda',
      model: 'SanDisk Ultra USB 3.0',
      sizeBytes: 30752636928,
      sectorBytes: 512,
      uses: ['/media/me/CAMERA'],
      contents: ['vfat "CAMERA" 30.8 GB'],
      partNames: ['sda1'],
    });
    expect(mounted && refusal(mounted, 1e9, 'linux')).toMatchObject({
      code: 'mounted',
      fix: "If nothing on it is needed any more: umount '/media/me/CAMERA'",
    });
    // Open, but not mounted: LUKS holds it.
    expect(locked?.uses).toEqual(['crypt luks-backup']);
    expect(locked && refusal(locked, 1e9, 'linux')?.fix).toContain('cryptsetup close');
    expect(card).toMatchObject({ uses: [], contents: ['vfat "bootfs" 268.4 MB', 'ext4 "rootfs" 31.6 GB'] });
    expect(card && refusal(card, 1e9, 'linux')).toBeUndefined();
    expect(removableDisks(disks).map(({ name }) => name)).toEqual(['sda', 'sdb', 'mmcblk0']);
    expect(diskTable(removableDisks(disks), 1e9, 'linux')).toMatch(
      /^ {2}sda \(SanDisk Ultra USB 3\.0, 30\.8 GB\) +vfat "CAMERA" 30\.8 GB\n {6}cannot be used: sda .* is in use: \/media\/me\/CAMERA\n/,
    );
  });

  test('shows a virtual machine without a single disk to write to: loop devices and RAM are none', async () => {
    const disks = parseLsblk(await listing('lsblk-virtual.json'));
    expect(disks).toMatchObject([{ name: 'vda', isRemovable: false, isSystem: true }]);
    expect(removableDisks(disks)).toEqual([]);
  });

  test('never offers the stick a live system runs from', async () => {
    const text = (await listing('lsblk-laptop.json')).replace('/media/me/CAMERA', '/run/live/medium');
    expect(removableDisks(parseLsblk(text)).map(({ name }) => name)).toEqual(['sdb', 'mmcblk0']);
  });

  test('takes numbers and booleans that old versions wrote as text', () => {
    const device = {
      name: 'sda',
      path: '/dev/sda',
      type: 'disk',
      size: '1000',
      rm: '1',
      ro: '0',
      'log-sec': '512',
    };
    expect(parseLsblk(JSON.stringify({ blockdevices: [device] }))).toMatchObject([
      { sizeBytes: 1000, isRemovable: true, isReadOnly: false, sectorBytes: 512 },
    ]);
  });

  test('refuses anything else', () => {
    for (const text of ['', '{}', '[]', '{"blockdevices":[{}]}', 'lsblk: unknown column']) {
      expect(() => parseLsblk(text)).toThrow(ProtocolError);
    }
  });
});

describe('parseDiskutilInfo', () => {
  const disks = async () => {
    const list = parseDiskutilList(await listing('diskutil-list.plist'));
    expect(wholeDisks(list)).toEqual(['disk0', 'disk4', 'disk5']);
    return Promise.all(
      wholeDisks(list).map(async (name) =>
        parseDiskutilInfo(await listing(`diskutil-info-${name}.plist`), list),
      ),
    );
  };

  test('tells a card in the built-in reader and a stick from the system disk, through APFS', async () => {
    const [system, usb, card] = await disks();
    expect(system).toMatchObject({ name: 'disk0', isRemovable: false, isSystem: true });
    expect(system?.uses).toEqual(['/', '/System/Volumes/Data']);
    expect(usb).toMatchObject({
      name: 'disk4',
      path: '/dev/rdisk4',
      model: 'Cruzer & Blade',
      sizeBytes: 15634268160,
      isRemovable: true,
      isSystem: false,
      uses: ['/Volumes/STICK'],
      contents: ['DOS_FAT_32 "STICK" 15.6 GB'],
    });
    expect(usb && refusal(usb, 1e9, 'darwin')?.fix).toContain('diskutil unmountDisk disk4');
    expect(card).toMatchObject({ name: 'disk5', isRemovable: true, isReadOnly: true, uses: [] });
    expect(card && refusal(card, 1e9, 'darwin')?.code).toBe('write-protected');
  });

  test('leaves disk images out, which only look like disks', async () => {
    const list = parseDiskutilList(await listing('diskutil-list.plist'));
    const text = (await listing('diskutil-info-disk4.plist')).replace('>Physical<', '>Virtual<');
    expect(parseDiskutilInfo(text, list)).toBeNull();
  });
});

describe('parseGetDisk', () => {
  test('tells a stick from the system disk', async () => {
    const disks = parseGetDisk(await listing('get-disk.json'));
    expect(disks).toMatchObject([
      { name: 'PhysicalDrive0', isRemovable: false, isSystem: true, uses: ['C:'] },
      {
        name: 'PhysicalDrive2',
        path: '\\\\.\\PhysicalDrive2',
        model: 'Generic MassStorageClass',
        sizeBytes: 31914983424,
        isRemovable: true,
        isSystem: false,
        uses: ['E:'],
        contents: ['FAT32 "bootfs" 268.4 MB', 'Unknown 31.6 GB'],
      },
      { name: 'PhysicalDrive3', isRemovable: true, uses: [], contents: [] },
    ]);
    const [, used, clear] = disks;
    expect(used && refusal(used, 1e9, 'win32')?.fix).toContain('Clear-Disk -Number 2 -RemoveData');
    expect(clear && refusal(clear, 1e9, 'win32')).toBeUndefined();
  });

  test('survives a byte order mark, and refuses anything else', () => {
    expect(parseGetDisk('\uFEFF[]')).toEqual([]);
    for (const text of ['', 'null', '{"Number":0}', '[{}]'])
      expect(() => parseGetDisk(text)).toThrow(ProtocolError);
  });
});

describe('decodePlist', () => {
  const plist = (body: string) =>
    `<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0">${body}</plist>\n`;

  test('reads every kind of value', () => {
    const body =
      '<dict><key>a&amp;b</key><string>&lt;&#65;&#x42;&gt;</string><key>n</key><integer>-12</integer>' +
      '<key>r</key><real>1.5</real><key>t</key><true/><key>f</key><false/><key>e</key><array/>' +
      '<key>l</key><array><dict/><string></string><string/></array></dict>';
    expect(decodePlist(plist(body))).toEqual({
      'a&b': '<AB>',
      n: -12,
      r: 1.5,
      t: true,
      f: false,
      e: [],
      l: [{}, '', ''],
    });
  });

  test('refuses a list that is cut anywhere, nested too deeply, or none', async () => {
    const whole = plist('<dict><key>k</key><array><integer>1</integer></array></dict>').trim();
    for (let length = 0; length < whole.length; length++) {
      expect(() => decodePlist(whole.slice(0, length)), String(length)).toThrow(ProtocolError);
    }
    expect(() => decodePlist(plist('<array>'.repeat(50) + '</array>'.repeat(50)))).toThrow(
      'nested too deeply',
    );
    expect(() => decodePlist(plist('<integer>x</integer>'))).toThrow('is no number');
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(() => decodePlist(text)).toThrow(ProtocolError);
      }),
    );
  });
});

describe('the tools', () => {
  test('are found on Windows, whose Path is spelt as it likes', () => {
    expect(toolEnvironment({ platform: 'win32', env: { Path: 'C:\\Windows', X: '1' } })).toEqual({
      PATH: 'C:\\Windows',
      X: '1',
    });
    expect(toolEnvironment({ platform: 'linux', env: { PATH: '/opt' } })).toMatchObject({
      PATH: '/opt:/usr/sbin:/usr/bin:/sbin:/bin',
      LC_ALL: 'C.UTF-8',
    });
  });

  test('that eject know the whole disk by the name they want', () => {
    const disk = stick('/dev/rdisk4', 1, { name: 'disk4' });
    expect(ejectCommands(disk, 'darwin')).toEqual([['diskutil', 'eject', 'disk4']]);
    expect(ejectCommands(stick('/dev/sdb', 1), 'linux').at(-1)).toEqual(['eject', '/dev/sdb']);
    expect(ejectCommands(disk, 'win32')).toEqual([]);
  });
});
