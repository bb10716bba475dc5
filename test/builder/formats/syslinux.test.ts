import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { extractSyslinux, installSyslinux, ldlinuxSysBytes } from '../../../builder/formats/syslinux.ts';

const patch = 24;
const epa = 600;
const sectors = 70;

/** An installer as SYSLINUX 6 lays it out; the real one is in syslinux.oracle.ts. */
function makeInstaller(): Buffer {
  const bootSector = Buffer.alloc(512, 0x90);
  bootSector.set([0xeb, 0x58, 0x90]);
  bootSector.write('SYSLINUX', 3, 'latin1');
  bootSector.writeUInt16LE(0xaa55, 510);
  const ldlinux = Buffer.alloc(sectors * 512, 0x11);
  ldlinux.write('\r\nSYSLINUX 6.04 \0', 0, 'latin1');
  ldlinux.writeUInt32LE(0x3eb202fe, patch);
  ldlinux.writeUInt16LE(epa, patch + 22);
  for (const [index, value] of [1000, 800, 64, 900, 64, 1100, 4, 282, 288, 458].entries()) {
    ldlinux.writeUInt16LE(value, epa + 2 * index);
  }
  const elf = Buffer.from('7f454c46010101', 'hex');
  return Buffer.concat([Buffer.alloc(1000, 7), bootSector, ldlinux, elf, Buffer.alloc(100)]);
}

const adv = new Uint8Array(1024).fill(0xad);
const fatBootSector = new Uint8Array(512).fill(0xfa);
const consecutive = Array.from({ length: sectors + 2 }, (_, index) => 5000 + index);
const place = { sectors: consecutive, directory: '/syslinux', adv, fatBootSector };

describe('extractSyslinux', () => {
  test('finds both pieces', () => {
    const pieces = extractSyslinux(makeInstaller());
    expect(pieces.bootSector.length).toBe(512);
    expect(pieces.ldlinux.length).toBe(sectors * 512);
    expect(ldlinuxSysBytes(pieces)).toBe((sectors + 2) * 512);
  });

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['another program', Buffer.alloc(10_000, 1)],
    ['a banner at the very start', makeInstaller().subarray(1512)],
    ['an installer cut short', makeInstaller().subarray(0, 1512 + sectors * 512)],
  ])('refuses %s', (_, bytes) => {
    expect(() => extractSyslinux(bytes)).toThrow(ProtocolError);
  });
});

describe('installSyslinux', () => {
  test('tells the boot sector and ldlinux.sys where they lie', () => {
    const installer = makeInstaller();
    const before = Buffer.from(installer);
    const { bootSector, ldlinuxSys } = installSyslinux(extractSyslinux(installer), place);
    const boot = Buffer.from(bootSector);
    expect(boot.readUInt32LE(282)).toBe(5000);
    expect(boot.readUInt32LE(288)).toBe(0);
    expect(boot.toString('latin1', 3, 11)).toBe('SYSLINUX');
    expect([...boot.subarray(10, 12), ...boot.subarray(89, 91)]).toEqual([0x58, 0xfa, 0xfa, 0x90]);
    const sys = Buffer.from(ldlinuxSys);
    expect(sys.length).toBe((sectors + 2) * 512);
    expect(sys.readUInt16LE(patch + 8)).toBe(sectors);
    expect(sys.readUInt16LE(patch + 10)).toBe(2);
    expect(sys.readUInt32LE(patch + 12)).toBe((sectors * 512) / 4);
    expect([sys.readBigUInt64LE(1000), sys.readBigUInt64LE(1008)]).toEqual([5070n, 5071n]);
    expect(sys.toString('latin1', 800, 810)).toBe('/syslinux\0');
    expect(sys.subarray(-1024).equals(adv)).toBe(true);
    // 63 sectors end where 64 KiB of memory do: 0x8200 + 63 × 512 = 0x10000.
    expect([sys.readBigUInt64LE(1100), sys.readUInt16LE(1108)]).toEqual([5001n, 63]);
    expect([sys.readBigUInt64LE(1110), sys.readUInt16LE(1118)]).toEqual([5064n, sectors - 64]);
    expect(installer.equals(before)).toBe(true);
  });

  test('makes the words of ldlinux.sys add up to the magic', () => {
    const { ldlinuxSys } = installSyslinux(extractSyslinux(makeInstaller()), place);
    const view = new DataView(ldlinuxSys.buffer, ldlinuxSys.byteOffset);
    let sum = 0;
    for (let offset = 0; offset < sectors * 512; offset += 4)
      sum = (sum + view.getUint32(offset, true)) >>> 0;
    expect(sum).toBe(0x3eb202fe);
  });

  test('refuses what does not fit', () => {
    const pieces = extractSyslinux(makeInstaller());
    const install = (wrong: Partial<typeof place>) => () => installSyslinux(pieces, { ...place, ...wrong });
    expect(install({ sectors: consecutive.slice(1) })).toThrow(/72 sectors, and 71 were given/);
    expect(install({ sectors: consecutive.map((sector) => sector * 2) })).toThrow(/4 pieces/);
    expect(install({ directory: `/${'x'.repeat(63)}` })).toThrow(/too long/);
    expect(install({ adv: adv.subarray(1) })).toThrow(/1023/);
  });

  test('refuses pieces that point outside themselves', () => {
    for (const field of [0, 1, 2, 5, 6, 7, 8]) {
      const installer = makeInstaller();
      installer.writeUInt16LE(0xffff, 1512 + epa + 2 * field);
      expect(() => installSyslinux(extractSyslinux(installer), place), `field ${field}`).toThrow(
        ProtocolError,
      );
    }
  });
});
