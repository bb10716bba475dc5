/**
 * Paths on the device that more than one program uses. `/usr` and `/etc` are read-only, `/run` is tmpfs,
 * `/data` is the DATA partition, `/boot` the BOOT partition (mounted read-only).
 */
export const paths = {
  /** Bundles: supervisor.js, relay.js; templates/ beside them. */
  programs: '/usr/lib/chatmail',
  templates: '/usr/lib/chatmail/templates',
  node: '/usr/bin/node',

  boot: '/boot',
  /** The seed on BOOT, editable on any laptop. */
  seed: '/boot/chatmail.json',
  /** The configuration in force, validated, secrets taken out, for relay and edge (0640 root:relay). */
  config: '/run/chatmail/config.json',
  /** The same for edge (0640 root:edge). */
  edgeConfig: '/run/chatmail/edge-config.json',
  /** How the edge is, for the supervisor: contract/edge-status.ts. */
  edgeStatus: '/run/edge/status.json',
  /** Debian's authorities and those of `tls.authorities`: whom relay and edge believe. */
  authorities: '/run/chatmail/ca-certificates.crt',
  lastGoodConfig: '/data/config/last-good.json',

  /** Rendered service configuration; /etc/postfix, /etc/dovecot … in the root are links to these. */
  postfixConfig: '/run/postfix',
  dovecotConfig: '/run/dovecot-config',
  unboundConfig: '/run/unbound',
  chronyConfig: '/run/chrony',
  /** Holds the password of the Wi-Fi network: root alone may enter. */
  wifiConfig: '/run/wpa_supplicant',
  avahiConfig: '/run/avahi',

  /** Leases and the choice of interface; /etc/resolv.conf, /etc/hosts and /etc/hostname are links into /run. */
  networkRun: '/run/network',
  /** What busybox udhcpc calls with a lease. */
  dhcpScript: '/usr/lib/chatmail/udhcpc.sh',
  resolvConf: '/run/resolv.conf',
  hosts: '/run/hosts',
  hostname: '/run/hostname',

  supervisorRun: '/run/supervisor',
  /** JSON lines: the supervisor's narrow request set. */
  supervisorSocket: '/run/supervisor/control.sock',

  /** Sockets of the relay process: one directory a client, so that only its group may enter. */
  milterSocket: '/run/relay/postfix/milter.sock',
  saslSocket: '/run/relay/postfix/sasl.sock',
  /** LMTP: Postfix hands over what goes to other relays. */
  transportSocket: '/run/relay/postfix/transport.sock',
  /** HTTP: the web server asks for accounts made with an invite token. */
  accountsSocket: '/run/relay/edge/accounts.sock',
  authSocket: '/run/relay/dovecot/auth.sock',
  dictSocket: '/run/relay/dovecot/dict.sock',
  /** Dovecot's quota warning calls here, as if it were its program. */
  quotaSocket: '/run/relay/dovecot/quota.sock',
  /** Dovecot listens here for the relay's doveadm commands. */
  doveadmSocket: '/run/dovecot/doveadm-server',

  data: '/data',
  logs: '/data/log',
  mail: '/data/mail',
  accountsDatabase: '/data/relay/accounts.sqlite',
  /** Sessions counted for reports to other domains (RFC 8460). */
  tlsReports: '/data/relay/tls-reports.json',
  dkimKey: '/data/relay/dkim/key.pem',
  /** Of the Wi-Fi network, taken out of the seed; 0600 root. */
  wifiPassword: '/data/network/wifi-password',
  /** The second one, where the operator has made one. */
  dkimEd25519Key: '/data/relay/dkim/ed25519.pem',
  /** Key and certificate chain in one file, so that both change in one rename. */
  tlsCredentials: '/data/tls/relay.pem',
  /** ACME account, orders in progress, the credentials before the present ones. */
  acme: '/data/edge/acme',
  /** What the device may change at its DNS provider with; 0600, of edge. */
  dnsCredentials: '/data/edge/dns-credentials.json',
  sshHostKey: '/data/ssh/host_ed25519.pem',
  postfixQueue: '/data/postfix/queue',
  postfixData: '/data/postfix/lib',
  dovecotState: '/data/dovecot',
  unboundState: '/data/unbound',
  chronyState: '/data/chrony',
  /** The last time known to be right, as seconds in text: for boards without a clock. */
  lastTime: '/data/clock/last-time',
} as const;
