/** Where the root filesystem keeps the few tools that are not ours (Debian's merged /usr). */
export const tools = {
  busybox: '/usr/bin/busybox',
  mke2fs: '/usr/sbin/mke2fs',
  e2fsck: '/usr/sbin/e2fsck',
  resize2fs: '/usr/sbin/resize2fs',
  partx: '/usr/bin/partx',
  /** Only on boards with Wi-Fi. */
  iw: '/usr/sbin/iw',
  wpaSupplicant: '/usr/sbin/wpa_supplicant',
} as const;
