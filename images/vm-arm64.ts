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

/** A virtual machine with an arm64 processor, started by UEFI: QEMU's `virt`, and what clouds rent out. */
export const vmArm64: Target = {
  name: 'vm-arm64',
  title: 'virtual machine, arm64, UEFI',
  architecture: 'arm64',
  suites: ['trixie', 'trixie-updates', 'trixie-security'],
  components: ['main'],
  rootPackages: [...rootPackages, 'linux-image-cloud-arm64'],
  pickedFiles,
  bootPackages: ['shim-signed', 'systemd-boot-efi-arm64-signed'],
  excludes,
  dropped,
  kept,
  initramfsModules: [
    // The watchdog goes first: it covers all that comes after.
    'sbsa_gwdt',
    'sp805_wdt',
    'wdat_wdt',
    // This kernel has NVMe and virtio over PCI built in.
    'virtio_blk',
    'virtio_scsi',
    'virtio_mmio',
    'sd_mod',
    'ahci',
    'hv_storvsc',
    'xen-blkfront',
    ...fileSystemModules,
  ],
  rootModules: [
    // For DATA. A module in Debian's other arm64 kernel, built into this one.
    'ext4',
    ...virtualMachineModules,
  ],
  node: node.arm64,
  loaders: { efi: 'aa64', bios: false },
  // Notices and worse: the kernel’s whole account of itself takes seconds on a serial line. Where the serial
  // port is another than QEMU's, the firmware's SPCR table names it, and the kernel adds it by itself.
  kernelArguments: ['console=tty0', 'console=ttyAMA0,115200', 'loglevel=6', 'panic=5'],
};
