import { dropped, excludes, kept, node, rootPackages } from './common.ts';
import type { Target } from './target.ts';

/** A virtual machine or PC with an x86-64 processor, started by UEFI or by an old BIOS. */
export const vmX86: Target = {
  name: 'vm-x86_64',
  title: 'virtual machine or PC, x86-64, UEFI or BIOS',
  architecture: 'amd64',
  suites: ['trixie', 'trixie-updates', 'trixie-security'],
  components: ['main'],
  rootPackages: [...rootPackages, 'linux-image-cloud-amd64'],
  bootPackages: ['shim-signed', 'systemd-boot-efi-amd64-signed', 'syslinux', 'syslinux-common'],
  excludes,
  dropped,
  kept,
  initramfsModules: [
    'i6300esb', // the watchdog goes first: it covers all that comes after
    'iTCO_wdt',
    'virtio_pci',
    'virtio_blk',
    'virtio_scsi',
    'sd_mod',
    'ahci',
    'nvme',
    'squashfs',
    'vfat',
    'nls_cp437',
    'nls_ascii',
    'nls_iso8859_1',
    'nls_utf8',
  ],
  rootModules: [
    'virtio_net',
    'virtio_rng',
    'ena',
    'gve',
    'hv_netvsc',
    'vmxnet3',
    'xen-netfront',
    'button',
    'evdev',
  ],
  node: node.amd64,
  loaders: { efi: 'x64', bios: true },
  kernelArguments: ['console=tty0', 'console=ttyS0,115200', 'panic=5'],
};
