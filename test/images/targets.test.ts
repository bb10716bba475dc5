import { describe, expect, test } from 'vitest';
import { targets } from '../../images/index.ts';
import { efiLoaders, syslinuxSources } from '../../builder/image/boot-files.ts';

describe('targets', () => {
  test('have names of their own, and the default is what most people have', () => {
    const names = targets.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names[0]).toBe('vm-x86_64');
    expect(names).toContain('vm-arm64');
  });

  describe.each(targets.map((target) => [target.name, target] as const))('%s', (_, target) => {
    test('fetches the packages its loaders come from, and no others', () => {
      const needed = [
        ...efiLoaders[target.loaders.efi].map((loader) => loader.package),
        ...(target.loaders.bios ? Object.values(syslinuxSources).map((source) => source.package) : []),
      ];
      expect(new Set(target.bootPackages)).toEqual(new Set(needed));
    });

    test('takes kernel, Node and loaders for its own processor', () => {
      const { architecture } = target;
      expect(target.rootPackages.filter((name) => name.startsWith('linux-image-'))).toEqual([
        expect.stringMatching(new RegExp(`-${architecture}$`)),
      ]);
      expect(target.node.name).toBe(`node-linux-${architecture === 'amd64' ? 'x64' : 'arm64'}`);
      expect(target.bootPackages).toContainEqual(expect.stringContaining(architecture));
    });

    test('speaks on the screen and on the serial line, which is /dev/console, and reboots after a panic', () => {
      const consoles = target.kernelArguments.filter((argument) => argument.startsWith('console='));
      expect(consoles).toEqual(['console=tty0', expect.stringMatching(/^console=tty(S0|AMA0),115200$/)]);
      expect(target.kernelArguments).toContain('panic=5');
    });

    test('names every module once, and the security suite', () => {
      for (const modules of [target.initramfsModules, target.rootModules]) {
        expect(new Set(modules).size).toBe(modules.length);
      }
      expect(target.suites).toContain('trixie-security');
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
