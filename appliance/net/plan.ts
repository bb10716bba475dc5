/** What has to be done to an interface for a configuration: busybox ip(8) commands and kernel settings. Pure. */
import type { Config } from '../contract/config.ts';
import { paths } from '../contract/paths.ts';
import { tools } from '../base/tools.ts';

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

/** Settings of one interface, before it is brought up. */
export function interfaceSysctls(name: string, { ipv6 }: Network): readonly Sysctl[] {
  const of = (key: string, value: string): Sysctl => ({ path: `net/ipv6/conf/${name}/${key}`, value });
  if (ipv6 === 'off') return [of('disable_ipv6', '1')];
  return [of('disable_ipv6', '0'), of('accept_ra', ipv6 === 'auto' ? '1' : '0')];
}

/** Commands that bring the interface up with its fixed addresses. */
export function interfaceCommands(name: string, { ipv4, ipv6 }: Network): readonly Command[] {
  const ip = (...args: string[]): Command => [tools.busybox, 'ip', ...args];
  const commands = [ip('link', 'set', name, 'up')];
  for (const [family, setting] of [['-4', ipv4] as const, ['-6', ipv6] as const]) {
    if (typeof setting === 'string') continue;
    const hostPrefix = family === '-4' ? 32 : 128;
    commands.push(
      ip(family, 'addr', 'replace', setting.address, 'dev', name),
      // The gateway may lie outside the prefix, as with many hosters: first how to reach it.
      ip(family, 'route', 'replace', `${setting.gateway}/${hostPrefix}`, 'dev', name),
      ip(family, 'route', 'replace', 'default', 'via', setting.gateway, 'dev', name),
    );
  }
  return commands;
}

/** busybox udhcpc in the foreground, or undefined where no DHCP is wanted. */
export function dhcpClient(
  name: string,
  { ipv4 }: Network,
  hostname: string,
): { readonly command: string; readonly args: readonly string[] } | undefined {
  if (ipv4 !== 'dhcp') return undefined;
  return {
    command: tools.busybox,
    // Five tries two seconds apart, then again every ten seconds, for ever.
    args: ['udhcpc', '-f', '-i', name, '-s', paths.dhcpScript, '-t', '5', '-T', '2', '-A', '10'].concat([
      '-x',
      `hostname:${hostname}`,
      '-O',
      'staticroutes',
      '-O',
      'mtu',
    ]),
  };
}
