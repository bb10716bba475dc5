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
import { candidates, type LinkKind, listInterfaces } from './interfaces.ts';
import {
  interfaceCommands,
  interfaceSysctls,
  isAddressed,
  type Link,
  planLinks,
  type Sysctl,
} from './plan.ts';

export interface NetworkOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Carrier takes a moment after an interface is set up: copper negotiates for two or three seconds. */
const carrierTimeoutMs = 4000;
/** An interface that the configuration names may be an adapter on USB. */
const namedTimeoutMs = 15_000;
const carrierPollMs = 50;
const interfacePollMs = 500;
/** With one link up, a second one is no hurry. */
const laterPollMs = 5000;

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
 * Waits, as long as it takes, until there are interfaces, configures one of each kind that is wanted, and
 * tells of it. USB adapters show up seconds after the start, and a cable may be plugged in tomorrow.
 * Resolves when all are up.
 * @throws when `signal` fires, or `onLink` does
 */
export async function bringUpLinks(
  network: Config['network'],
  onLink: (link: Link) => Promise<void>,
  options: NetworkOptions,
): Promise<void> {
  const { clock, log, signal } = options;
  const kinds: readonly LinkKind[] = network.wifi === undefined ? ['cable'] : ['cable', 'wifi'];
  const seen = new Set<string>();
  const up = new Map<LinkKind, Link>();
  let settledMs = Number.POSITIVE_INFINITY;
  while (up.size < kinds.length) {
    const interfaces = await listInterfaces();
    for (const kind of kinds) {
      for (const { name } of candidates(interfaces, kind)) {
        if (seen.has(name)) continue;
        seen.add(name);
        // Carrier shows only on interfaces that are up.
        await applySysctls(interfaceSysctls({ kind, name, network }), log);
        await setUp(name, options);
        const waitMs = network.interface === undefined ? carrierTimeoutMs : namedTimeoutMs;
        settledMs = clock.monotonicMs() + waitMs;
      }
    }
    const isSettled = clock.monotonicMs() >= settledMs;
    const addressed = [...up.values()].find(isAddressed)?.kind;
    for (const link of planLinks(network, { interfaces, isSettled, addressed })) {
      if (up.has(link.kind)) continue;
      try {
        await bringUpLink(link, options);
        up.set(link.kind, link);
      } catch (error) {
        signal.throwIfAborted();
        // The other link may do; this one is tried again.
        log.error('network interface cannot be brought up', { name: link.name, error: messageOf(error) });
        continue;
      }
      await onLink(link);
    }
    const pauseMs = up.size > 0 || isSettled ? laterPollMs : seen.size > 0 ? carrierPollMs : interfacePollMs;
    if (up.size < kinds.length) await clock.sleep(pauseMs, signal);
  }
}

async function setUp(name: string, { log, signal }: NetworkOptions): Promise<void> {
  await runCommand([tools.busybox, 'ip', 'link', 'set', name, 'up'], { signal }).catch((error: unknown) => {
    signal.throwIfAborted();
    log.warn('network interface cannot be set up', { name, error: messageOf(error) });
  });
}

async function bringUpLink(link: Link, { log, signal }: NetworkOptions): Promise<void> {
  const { kind, name, network } = link;
  await applySysctls(interfaceSysctls(link), log);
  for (const command of interfaceCommands(link)) await runCommand(command, { signal });
  if (kind === 'wifi') {
    // A server that sleeps between beacons answers late, and misses what is sent to all.
    await runCommand([tools.iw, 'dev', name, 'set', 'power_save', 'off'], { signal }).catch(
      (error: unknown) => log.warn('Wi-Fi keeps saving power', { error: messageOf(error) }),
    );
  }
  log.info('network interface', { name, kind, ipv4: describe(network.ipv4), ipv6: describe(network.ipv6) });
}

function describe(setting: Config['network']['ipv4'] | Config['network']['ipv6']): string {
  return typeof setting === 'string' ? setting : setting.address;
}
