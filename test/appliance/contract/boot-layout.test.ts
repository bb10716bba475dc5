import { describe, expect, test } from 'vitest';
import {
  decodeSyslinuxPointer,
  encodeLoaderEntry,
  encodeSyslinuxEntry,
  encodeSyslinuxPointer,
  kernelCommandLine,
  loaderEntryPath,
} from '../../../appliance/contract/boot-layout.ts';

const entry = { slot: 'b', title: 'Chatmail relay 2', version: '2', commandLine: 'panic=5 ro' } as const;

describe('kernelCommandLine', () => {
  test('puts the slot and the disk behind the target’s own arguments', () => {
    const guid = '01234567-89ab-4cde-8f01-23456789abcd';
    expect(kernelCommandLine({ slot: 'a', arguments: ['console=tty0', 'panic=5'] })).toBe(
      'console=tty0 panic=5 ro chatmail.slot=a',
    );
    expect(kernelCommandLine({ slot: 'b', arguments: ['panic=5'], diskGuid: guid })).toBe(
      `panic=5 ro chatmail.slot=b chatmail.disk=${guid}`,
    );
  });

  test.each([['two\nlines'], ['ü'], ['x'.repeat(2048)], ['']])('refuses %j', (argument) => {
    expect(() => kernelCommandLine({ slot: 'a', arguments: [argument] })).toThrow(RangeError);
  });
});

describe('loaderEntryPath', () => {
  test('has the tries left in the name while a slot is on trial', () => {
    expect(loaderEntryPath('b')).toBe('loader/entries/slot-b.conf');
    expect(loaderEntryPath('b', 1)).toBe('loader/entries/slot-b+1.conf');
  });
});

describe('boot entries', () => {
  test('of systemd-boot', () => {
    expect(encodeLoaderEntry(entry)).toBe(
      'title Chatmail relay 2\nsort-key chatmail\nversion 2\nlinux /b/vmlinuz\ninitrd /b/initrd\noptions panic=5 ro\n',
    );
  });

  test('of SYSLINUX', () => {
    expect(encodeSyslinuxEntry(entry)).toBe(
      'LABEL b\n  MENU LABEL Chatmail relay 2\n  LINUX /b/vmlinuz\n  INITRD /b/initrd\n  APPEND panic=5 ro\n',
    );
  });
});

describe('the pointer of SYSLINUX', () => {
  test('fills a sector and is read back', () => {
    for (const slot of ['a', 'b'] as const) {
      const bytes = encodeSyslinuxPointer(slot);
      expect(bytes.length).toBe(512);
      expect(decodeSyslinuxPointer(bytes)).toBe(slot);
    }
  });

  test('is nobody’s when it is torn or edited', () => {
    const bytes = encodeSyslinuxPointer('a');
    expect(decodeSyslinuxPointer(bytes.subarray(0, 511))).toBeUndefined();
    for (let offset = 0; offset < 24; offset++) {
      const torn = bytes.slice();
      torn[offset] = 0;
      expect(decodeSyslinuxPointer(torn)).toBeUndefined();
    }
  });
});
