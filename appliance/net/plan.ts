/** What has to be done to an interface for a configuration: busybox ip(8) commands and kernel settings. Pure. */
import type { Config } from '../contract/config.ts';
import { paths } from '../contract/paths.ts';
import { tools } from '../base/tools.ts';
import { chooseInterface, type LinkKind, type NetworkInterface } from './interfaces.ts';

type Network = Config['network'];
type Command = readonly [string, ...string[]];

/** A kernel setting: the path below /proc/sys, and its value. */
export interface Sysctl {
  readonly path: string;
  readonly value: string;
}

/** Settings of the whole machine, whatever its interfaces. */
export const machineSysctls: readonly Sysctl[] = [
  // Dovecot needs one inotify instance for each connection that idles before it hibernates, all under one
  // uid; the default of 128 makes it fall back to polling (facts/mailcore.md §3).
  { path: 'fs/inotify/max_user_instances', value: '65535' },
  { path: 'fs/inotify/max_user_watches', value: '1048576' },
  { path: 'net/core/somaxconn', value: '4096' },
  // The edge serves 80 and 443 without ever having been root.
  { path: 'net/ipv4/ip_unprivileged_port_start', value: '80' },
  { path: 'net/ipv4/conf/all/accept_redirects', value: '0' },
  { path: 'net/ipv4/conf/default/accept_redirects', value: '0' },
  { path: 'net/ipv4/conf/all/send_redirects', value: '0' },
  { path: 'net/ipv4/conf/all/rp_filter', value: '2' },
  { path: 'net/ipv6/conf/all/accept_redirects', value: '0' },
  { path: 'net/ipv6/conf/default/accept_redirects', value: '0' },
  // A relay is found by its address: the one made from the MAC stays.
  { path: 'net/ipv6/conf/all/use_tempaddr', value: '0' },
  { path: 'net/ipv6/conf/default/use_tempaddr', value: '0' },
  { path: 'kernel/kptr_restrict', value: '2' },
  { path: 'kernel/dmesg_restrict', value: '1' },
  { path: 'kernel/panic_on_oops', value: '1' },
  { path: 'kernel/panic', value: '5' },
];

/** How the device reaches its network over one interface. */
export interface Link {
  readonly kind: LinkKind;
  readonly name: string;
  /** What of the configuration is meant for this link. */
  readonly network: Network;
}

/** Of IPv4 and IPv6 routes over Wi-Fi; those of a cable have less (the kernel's own: 0 and 1024), and go first. */
const wifiMetrics = { ipv4: 600, ipv6: 2048 } as const;

/** Where the configuration's own interface and addresses belong, as far as is known by now. */
export interface LinkSituation {
  readonly interfaces: readonly NetworkInterface[];
  /** Enough time has gone by for what is there to have shown itself. */
  readonly isSettled: boolean;
  /** Which link got the fixed addresses, once that was decided. */
  readonly addressed?: LinkKind | undefined;
}

/**
 * The links to bring up: the cable, and Wi-Fi where it is configured. Both are used side by side, so that one
 * takes over when the other fails. Fixed addresses belong to the interface that the configuration names, else
 * to the cable if one is plugged in, else to Wi-Fi; the other link gets its own from the network. Pure.
 * @returns none as long as it is too early to tell
 */
export function planLinks(network: Network, situation: LinkSituation): readonly Link[] {
  const { interfaces, isSettled } = situation;
  const cable = chooseInterface(interfaces, 'cable', network.interface);
  const wifi = network.wifi && chooseInterface(interfaces, 'wifi', network.interface);
  const hasCarrier = interfaces.some((one) => one.name === cable && one.hasCarrier);
  const isNamed = network.interface === undefined || [cable, wifi].includes(network.interface);
  if (!isSettled && !(hasCarrier && isNamed)) return [];
  const best = hasCarrier || wifi === undefined ? 'cable' : 'wifi';
  const chosen =
    network.interface === undefined || !isNamed ? best : network.interface === wifi ? 'wifi' : 'cable';
  const addressed = situation.addressed ?? chosen;
  const link = (kind: LinkKind, name: string | undefined): Link[] =>
    name === undefined ? [] : [{ kind, name, network: networkOf(network, kind === addressed) }];
  return [...link('cable', cable), ...link('wifi', wifi)];
}

function networkOf(network: Network, isAddressed: boolean): Network {
  const { ipv4, ipv6 } = network;
  if (isAddressed) return network;
  return {
    ...network,
    ipv4: typeof ipv4 === 'string' ? ipv4 : 'dhcp',
    ipv6: typeof ipv6 === 'string' ? ipv6 : 'auto',
  };
}

/** True when the link has fixed addresses of the configuration. */
export function isAddressed({ network: { ipv4, ipv6 } }: Link): boolean {
  return typeof ipv4 !== 'string' || typeof ipv6 !== 'string';
}

/** Settings of one interface, before it is brought up. */
export function interfaceSysctls({ kind, name, network: { ipv6, wifi } }: Link): readonly Sysctl[] {
  const of = (family: 'ipv4' | 'ipv6', key: string, value: string): Sysctl => ({
    path: `net/${family}/conf/${name}/${key}`,
    value,
  });
  // A cable that is pulled leaves its routes behind; with this they count no more.
  const failOver = (family: 'ipv4' | 'ipv6') =>
    wifi === undefined ? [] : [of(family, 'ignore_routes_with_linkdown', '1')];
  if (ipv6 === 'off') return [of('ipv6', 'disable_ipv6', '1'), ...failOver('ipv4')];
  return [
    of('ipv6', 'disable_ipv6', '0'),
    of('ipv6', 'accept_ra', ipv6 === 'auto' ? '1' : '0'),
    ...(kind === 'wifi' ? [of('ipv6', 'ra_defrtr_metric', `${wifiMetrics.ipv6}`)] : []),
    ...failOver('ipv4'),
    ...failOver('ipv6'),
  ];
}

/** Commands that bring the interface up with its fixed addresses. */
export function interfaceCommands({ kind, name, network: { ipv4, ipv6 } }: Link): readonly Command[] {
  const ip = (...args: string[]): Command => [tools.busybox, 'ip', ...args];
  const commands = [ip('link', 'set', name, 'up')];
  for (const [family, setting] of [['ipv4', ipv4] as const, ['ipv6', ipv6] as const]) {
    if (typeof setting === 'string') continue;
    const [flag, hostPrefix] = family === 'ipv4' ? (['-4', 32] as const) : (['-6', 128] as const);
    const metric = kind === 'wifi' ? ['metric', `${wifiMetrics[family]}`] : [];
    commands.push(
      ip(flag, 'addr', 'replace', setting.address, 'dev', name),
      // The gateway may lie outside the prefix, as with many hosters: first how to reach it.
      ip(flag, 'route', 'replace', `${setting.gateway}/${hostPrefix}`, 'dev', name, ...metric),
      ip(flag, 'route', 'replace', 'default', 'via', setting.gateway, 'dev', name, ...metric),
    );
  }
  return commands;
}

/** A program that is started for a link. */
export interface LinkProgram {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** busybox udhcpc in the foreground, or undefined where no DHCP is wanted. */
export function dhcpClient(
  { kind, name, network: { ipv4 } }: Link,
  hostname: string,
): LinkProgram | undefined {
  if (ipv4 !== 'dhcp') return undefined;
  const isWifi = kind === 'wifi';
  // Five tries two seconds apart, then again every ten seconds, for ever; Wi-Fi takes a while to be there.
  const args = `udhcpc -f -i ${name} -s ${paths.dhcpScript} -t 5 -T 2 -A ${isWifi ? 3 : 10}`.split(' ');
  return {
    command: tools.busybox,
    args: [...args, '-x', `hostname:${hostname}`, '-O', 'staticroutes', '-O', 'mtu'],
    // udhcpc hands its environment on to the script.
    ...(isWifi && { env: { ROUTE_METRIC: `${wifiMetrics.ipv4}` } }),
  };
}

/** wpa_supplicant in the foreground: root, since it makes and takes down the link's keys in the kernel. */
export function wifiClient({ name }: Link): LinkProgram {
  const config = `${paths.wifiConfig}/wpa_supplicant.conf`;
  return { command: tools.wpaSupplicant, args: ['-i', name, '-D', 'nl80211', '-c', config] };
}
