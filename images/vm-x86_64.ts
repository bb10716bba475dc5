import {
  dropped,
  excludes,
  fileSystemModules,
  kept,
  node,
  pickedFiles,
  rootPackages,
  virtualMachineModules,
} from './common.ts';
import type { Target } from './target.ts';

/** A virtual machine or PC with an x86-64 processor, started by UEFI or by an old BIOS. */
export const vmX86: Target = {
  name: 'vm-x86_64',
  title: 'virtual machine or PC, x86-64, UEFI or BIOS',
  architecture: 'amd64',
  suites: ['trixie', 'trixie-updates', 'trixie-security'],
  components: ['main'],
  rootPackages: [...rootPackages, 'linux-image-cloud-amd64'],
  pickedFiles,
  bootPackages: ['shim-signed', 'systemd-boot-efi-amd64-signed', 'syslinux', 'syslinux-common'],
  excludes,
  dropped,
  kept,
  initramfsModules: [
    // The watchdog goes first: it covers all that comes after.
    'i6300esb',
    'wdat_wdt',
    'virtio_blk',
    'virtio_scsi',
    'virtio_mmio',
    'sd_mod',
    'ahci',
    'ata_piix',
    'hv_storvsc',
    'vmw_pvscsi',
    'xen-blkfront',
    ...fileSystemModules,
  ],
  rootModules: virtualMachineModules,
  node: node.amd64,
  loaders: { efi: 'x64', bios: true },
  // Notices and worse: the kernel’s whole account of itself takes seconds on a serial line.
  kernelArguments: ['console=tty0', 'console=ttyS0,115200', 'loglevel=6', 'panic=5'],
};
