/** Brings the network up. What other hosts send is left to the kernel and to busybox udhcpc. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../base/atomic-file.ts';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { runCommand } from '../base/run-command.ts';
import { tools } from '../base/tools.ts';
import type { Config } from '../contract/config.ts';
import { paths } from '../contract/paths.ts';
import { chooseInterface, listInterfaces } from './interfaces.ts';
import { interfaceCommands, interfaceSysctls, type Sysctl } from './plan.ts';

export interface NetworkOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Carrier takes a moment after an interface is set up: copper negotiates for two or three seconds. */
const carrierTimeoutMs = 4000;
const interfacePollMs = 500;

/** Writes kernel settings; one the kernel does not have is logged and left. */
export async function applySysctls(sysctls: readonly Sysctl[], log: Log): Promise<void> {
  for (const { path, value } of sysctls) {
    try {
      await writeFile(join('/proc/sys', path), value);
    } catch (error) {
      log.warn('kernel setting refused', { path, error: messageOf(error) });
    }
  }
}

/** Everybody asks the local unbound. trust-ad: its word on DNSSEC counts, for DANE (resolv.conf(5)). */
export async function writeResolvConf(): Promise<void> {
  await writeFileAtomic(paths.resolvConf, 'nameserver 127.0.0.1\noptions edns0 trust-ad\n', {
    mode: 0o644,
    flush: false,
  });
}

export async function bringUpLoopback({ signal }: NetworkOptions): Promise<void> {
  await runCommand([tools.busybox, 'ip', 'link', 'set', 'lo', 'up'], { signal });
}

/**
 * Waits, as long as it takes, until there is an interface, and configures it. USB adapters show up seconds
 * after the start, and a cable may be plugged in tomorrow.
 * @returns the name of the interface
 * @throws when `signal` fires, or a command fails
 */
export async function bringUpInterface(network: Config['network'], options: NetworkOptions): Promise<string> {
  const { clock, log, signal } = options;
  let interfaces = await listInterfaces();
  while (chooseInterface(interfaces) === undefined) {
    await clock.sleep(interfacePollMs, signal);
    interfaces = await listInterfaces();
  }
  // Carrier shows only on interfaces that are up.
  for (const { name } of interfaces.filter(({ isEthernet }) => isEthernet)) {
    await applySysctls(interfaceSysctls(name, network), log);
    await runCommand([tools.busybox, 'ip', 'link', 'set', name, 'up'], { signal });
  }
  const deadlineMs = clock.monotonicMs() + carrierTimeoutMs;
  while (!interfaces.some(({ hasCarrier }) => hasCarrier) && clock.monotonicMs() < deadlineMs) {
    await clock.sleep(50, signal);
    interfaces = await listInterfaces();
  }
  const name = chooseInterface(interfaces);
  if (name === undefined) return bringUpInterface(network, options);
  for (const command of interfaceCommands(name, network)) await runCommand(command, { signal });
  log.info('network interface', { name, ipv4: describe(network.ipv4), ipv6: describe(network.ipv6) });
  return name;
}

function describe(setting: Config['network']['ipv4'] | Config['network']['ipv6']): string {
  return typeof setting === 'string' ? setting : setting.address;
}
