import { describe, expect, test } from 'vitest';
import { targets } from '../../images/index.ts';
import { efiLoaders, syslinuxSources } from '../../builder/image/boot-files.ts';
import { raspberryPiFirmware } from '../../builder/image/raspberry-pi-files.ts';

describe('targets', () => {
  test('have names of their own, and the default is what most people have', () => {
    const names = targets.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names[0]).toBe('vm-x86_64');
    expect(names).toContain('vm-arm64');
    expect(names).toContain('rpi-arm64');
  });

  describe.each(targets.map((target) => [target.name, target] as const))('%s', (_, target) => {
    test('fetches the packages its loaders come from, and no others', () => {
      const { efi, bios, raspberryPi } = target.loaders;
      const needed = [
        ...(efi === undefined ? [] : efiLoaders[efi].map((loader) => loader.package)),
        ...(bios ? Object.values(syslinuxSources).map((source) => source.package) : []),
        ...(raspberryPi === undefined ? [] : raspberryPiFirmware.map((file) => file.package)),
      ];
      expect(new Set(target.bootPackages)).toEqual(new Set(needed));
    });

    test('takes kernel, Node and loaders for its own processor', () => {
      const { architecture } = target;
      expect(target.rootPackages.filter((name) => name.startsWith('linux-image-'))).toEqual([
        expect.stringMatching(new RegExp(`-${architecture}(/trixie-backports)?$`)),
      ]);
      expect(target.node.name).toBe(`node-linux-${architecture === 'amd64' ? 'x64' : 'arm64'}`);
      if (target.loaders.efi !== undefined) {
        expect(target.bootPackages).toContainEqual(expect.stringContaining(architecture));
      }
    });

    test('speaks on the screen and on the serial line, which is /dev/console, and reboots after a panic', () => {
      const consoles = target.kernelArguments.filter((argument) => argument.startsWith('console='));
      const [screen, ...serial] = consoles;
      expect(screen).toBe('console=tty0');
      expect(serial).not.toHaveLength(0);
      for (const line of serial) expect(line).toMatch(/^console=tty(S|AMA)\d+,115200$/);
      expect(target.kernelArguments).toContain('panic=5');
    });

    test('names every module once, and the security suite', () => {
      for (const modules of [target.initramfsModules, target.rootModules]) {
        expect(new Set(modules).size).toBe(modules.length);
      }
      expect(target.suites).toContain('trixie-security');
    });

    test('has firmware that is not free only where a board needs it, with its licence', () => {
      const isRaspberryPi = target.loaders.raspberryPi !== undefined;
      expect(target.components).toEqual(isRaspberryPi ? ['main', 'non-free-firmware'] : ['main']);
      expect(target.bootPackages.includes('raspi-firmware')).toBe(isRaspberryPi);
      expect(raspberryPiFirmware.map(({ source }) => source)).toContain(
        'usr/share/doc/raspi-firmware/copyright',
      );
    });
  });
});

describe('efiLoaders', () => {
  test.each([
    ['x64', 'X64', 'x64'],
    ['aa64', 'AA64', 'aa64'],
  ] as const)('%s: the firmware finds shim, and shim finds systemd-boot', (architecture, removable, grub) => {
    const [shim, boot] = efiLoaders[architecture];
    // UEFI 2.10 §3.5.1.1, removable media boot behaviour; shim's DEFAULT_LOADER.
    expect(shim.path).toBe(`EFI/BOOT/BOOT${removable}.EFI`);
    expect(boot.path).toBe(`EFI/BOOT/grub${grub}.efi`);
    expect([shim.source, boot.source].every((source) => source.endsWith('.efi.signed'))).toBe(true);
  });
});
