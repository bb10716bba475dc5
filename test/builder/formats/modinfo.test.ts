import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { decodeBuiltinAliases, decodeModule, moduleName } from '../../../builder/formats/modinfo.ts';
import { encodeElf, encodeModule } from '../../fakes/kernel-module.ts';

const text = (value: string) => new TextEncoder().encode(value);

describe('decodeModule', () => {
  test('reads what loading needs', () => {
    const module = encodeModule(
      'alias=fs-vfat',
      'alias=of:N*T*Cbrcm,bcm2835-sdhostC*',
      'softdep=pre: crypto-crc32c nls-ascii post: late',
      'softdep=pre: sha256',
      'author=Somebody = with an equals sign',
      'depends=fat,nls-base',
      'firmware=brcm/x.bin',
      'name=vfat',
    );
    expect(decodeModule(module)).toEqual({
      name: 'vfat',
      depends: ['fat', 'nls_base'],
      softBefore: ['crypto-crc32c', 'nls-ascii', 'sha256'],
      softAfter: ['late'],
      aliases: ['fs-vfat', 'of:N*T*Cbrcm,bcm2835-sdhostC*'],
      firmware: ['brcm/x.bin'],
    });
  });

  test('an empty depends= means none', () => {
    expect(decodeModule(encodeModule('name=a', 'depends=')).depends).toEqual([]);
  });

  test('names are normalised', () => {
    expect(decodeModule(encodeModule('name=dm-verity')).name).toBe('dm_verity');
    expect(moduleName('xen-netfront')).toBe('xen_netfront');
  });

  test('refuses what is no module', () => {
    expect(() => decodeModule(encodeElf({ '.text': Uint8Array.of() }))).toThrow(ProtocolError);
    expect(() => decodeModule(encodeModule('license=GPL'))).toThrow('without a name');
  });

  test('refuses a section beyond its limit', () => {
    const huge = encodeElf({ '.modinfo': new Uint8Array(1024 * 1024 + 1) });
    expect(() => decodeModule(huge)).toThrow('more than');
  });
});

describe('decodeBuiltinAliases', () => {
  test('reads aliases with their module, and nothing else', () => {
    const file = text('ext4.alias=fs-ext4\0ext4.license=GPL\0crc32c-generic.alias=crypto-crc32c\0alias=x\0');
    expect(decodeBuiltinAliases(file)).toEqual([
      { alias: 'fs-ext4', module: 'ext4' },
      { alias: 'crypto-crc32c', module: 'crc32c_generic' },
    ]);
  });
});
