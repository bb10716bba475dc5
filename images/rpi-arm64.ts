import {
  dropped,
  excludes,
  fileSystemModules,
  kept,
  node,
  pickedFiles,
  rootPackages,
  wifiExcludes,
  wifiPackages,
  wifiPickedFiles,
} from './common.ts';
import type { Target } from './target.ts';

/** One card for every Raspberry Pi with a 64-bit processor and at least 512 MB, started by its own firmware. */
export const rpiArm64: Target = {
  name: 'rpi-arm64',
  title: 'Raspberry Pi 3, 4, 5, 400, 500, Zero 2 W, CM4',
  architecture: 'arm64',
  suites: ['trixie', 'trixie-updates', 'trixie-backports', 'trixie-security'],
  components: ['main', 'non-free-firmware'],
  // Linux 6.18 is the first with what a Pi 5 needs; everything else stays Debian stable.
  rootPackages: [...rootPackages, ...wifiPackages, 'linux-image-arm64/trixie-backports'],
  pickedFiles: {
    ...pickedFiles,
    ...wifiPickedFiles,
    // Whole files, for the chips that these boards have (licence: complete and unmodified).
    'firmware-brcm80211': [
      /^usr\/lib\/firmware\/cypress\/cyfmac434(30|55)-sdio\./,
      /^usr\/lib\/firmware\/brcm\/brcmfmac434(30|55)-sdio\.(bin|clm_blob)$/,
      /^usr\/lib\/firmware\/brcm\/brcmfmac434(30|55)-sdio\.(raspberrypi,|Raspberry Pi )[^/]+\.txt$/,
    ],
    'raspi-firmware': [/^usr\/lib\/firmware\/brcm\//],
    // The radio's rules by country, signed; the kernel takes no other.
    'wireless-regdb': [/^usr\/lib\/firmware\/regulatory\.db(\.p7s)?-debian$/],
  },
  bootPackages: ['raspi-firmware'],
  excludes: { ...excludes, ...wifiExcludes },
  dropped,
  // As update-alternatives would have it.
  links: {
    'usr/lib/firmware/regulatory.db': 'regulatory.db-debian',
    'usr/lib/firmware/regulatory.db.p7s': 'regulatory.db.p7s-debian',
  },
  kept,
  initramfsModules: [
    // The watchdog goes first: it covers all that comes after, and without it this kernel cannot reboot.
    'bcm2835_wdt',
    // SD cards: Pi 3 and Zero 2 W; Pi 4; Pi 5, whose card needs pins and switched power.
    'bcm2835',
    'sdhci-iproc',
    'sdhci-brcmstb',
    'pinctrl-brcmstb-bcm2712',
    'gpio-brcmstb',
    'fixed',
    'gpio-regulator',
    // Disks on USB, which a Pi 3 reaches through dwc2, a Pi 4 over PCIe, a Pi 5 through its RP1.
    'dwc2',
    'phy-generic',
    'reset-raspberrypi',
    'xhci-pci',
    'irq-bcm2712-mip',
    'rp1-pci',
    'clk-rp1',
    'pinctrl-rp1',
    'dwc3',
    'xhci-plat-hcd',
    'onboard_usb_dev',
    'usb-storage',
    'uas',
    'sd_mod',
    ...fileSystemModules,
  ],
  rootModules: [
    // For DATA.
    'ext4',
    // Ethernet of Pi 3B, 3B+, 4 and 5, with what drives the sockets.
    'smsc95xx',
    'smsc',
    'lan78xx',
    'microchip',
    'genet',
    'macb',
    'broadcom',
    // Ethernet adapters on USB, for boards without a socket.
    'asix',
    'ax88179_178a',
    'cdc_ether',
    'cdc_ncm',
    'r8152',
    // Wi-Fi, with both makers' parts, and what takes the chip out of its reset (a Pi 3's, by a pin).
    'reset-gpio',
    'brcmfmac',
    'brcmfmac-cyw',
    'brcmfmac-wcc',
    // Random numbers, heat, speed, lights.
    'bcm2835-rng',
    'iproc-rng200',
    'bcm2835_thermal',
    'bcm2711_thermal',
    'raspberrypi-cpufreq',
    'leds-gpio',
    // The power button of a Pi 5.
    'gpio_keys',
    'evdev',
  ],
  node: node.arm64,
  loaders: {
    bios: false,
    raspberryPi: {
      files: {
        'bcm2837-rpi-3-b.dtb': 'bcm2837-rpi-3-b.dtb',
        'bcm2837-rpi-3-b-plus.dtb': 'bcm2837-rpi-3-b-plus.dtb',
        'bcm2837-rpi-3-a-plus.dtb': 'bcm2837-rpi-3-a-plus.dtb',
        'bcm2837-rpi-zero-2-w.dtb': 'bcm2837-rpi-zero-2-w.dtb',
        'bcm2711-rpi-4-b.dtb': 'bcm2711-rpi-4-b.dtb',
        'bcm2711-rpi-400.dtb': 'bcm2711-rpi-400.dtb',
        'bcm2711-rpi-cm4-io.dtb': 'bcm2711-rpi-cm4-io.dtb',
        'bcm2712-rpi-5-b.dtb': 'bcm2712-rpi-5-b.dtb',
        'bcm2712-d-rpi-5-b.dtb': 'bcm2712-d-rpi-5-b.dtb',
        // Debian has none for a Pi 500, which is a later Pi 5 in a keyboard.
        'bcm2712-rpi-500.dtb': 'bcm2712-d-rpi-5-b.dtb',
      },
      // A Pi 5 with a later chip (stepping D0) takes the first one's device tree, and this with it.
      overlays: { 'bcm2712d0.dtbo': { from: 'bcm2712-rpi-5-b.dtb', to: 'bcm2712-d-rpi-5-b.dtb' } },
    },
  },
  // The screen; the serial line of a Pi 5; that of all others. What is not there is passed over.
  kernelArguments: [
    'console=tty0',
    'console=ttyAMA10,115200',
    'console=ttyS1,115200',
    'loglevel=6',
    'panic=5',
  ],
};
