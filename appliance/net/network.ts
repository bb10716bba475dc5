/**
 * The network of a running device: its links with what runs for them, the name by which the neighbours find
 * it, and what is wrong with any of it.
 */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../base/errors.ts';
import { type Config, defaultNetwork } from '../contract/config.ts';
import { paths } from '../contract/paths.ts';
import type { Problem } from '../contract/status.ts';
import { users } from '../contract/users.ts';
import { bringUpLinks, type NetworkOptions } from './bring-up.ts';
import { announcedName, isHomeNetwork } from './local-name.ts';
import { dhcpClient, type Link, type LinkProgram, wifiClient } from './plan.ts';
import { wifiProblem, wifiSetupProblem } from './wifi-state.ts';

/** A row as in services.ts. */
export interface NetworkService extends LinkProgram {
  readonly name: string;
  readonly identity?: { readonly uid: number; readonly gid: number };
  readonly needs: readonly [];
  readonly ready: { readonly kind: 'alive'; readonly forMs: number };
  readonly stopTimeoutMs: number;
  readonly isVital: false;
}

export interface DeviceNetworkOptions extends NetworkOptions {
  /** Undefined where there is none to be had: the machine gets an address all the same, for the console. */
  readonly config: Config | undefined;
  /** The rendered configuration of what runs here is in place. */
  readonly canServe: boolean;
  /** False in a namespace, whose interfaces are somebody else's. */
  readonly ownsLinks: boolean;
  readonly hostname: string;
  /** NAME of NAME.local. */
  readonly localName: string;
  ownAddresses(): readonly string[];
  startService(service: NetworkService): Promise<void>;
  /** The last lines a service has printed, each with its time; undefined when it does not run. */
  recentLines(name: string): readonly string[] | undefined;
}

export interface DeviceNetwork {
  /** Resolves when all that can be there is up. */
  run(): Promise<void>;
  problems(): readonly Problem[];
  /** `http://chat.local` while the device is announced. */
  localUrl(): string | undefined;
}

const addressPollMs = 2000;
/** USB adapters and firmware take their time. */
const adapterTimeoutMs = 30_000;
/** More than these services print between two looks. */
export const recentLineCount = 300;

const avahi = '/usr/sbin/avahi-daemon';

export function createNetwork(options: DeviceNetworkOptions): DeviceNetwork {
  const { config, canServe, ownsLinks, clock, log, signal } = options;
  const settings = config?.network ?? defaultNetwork;
  const startedMs = clock.monotonicMs();
  let hasWifiAdapter = false;
  let hasWifiConfiguration = true;

  const start = (name: string, program: LinkProgram, identity?: NetworkService['identity']): Promise<void> =>
    options.startService({
      name,
      ...program,
      ...(identity && { identity }),
      needs: [],
      ready: { kind: 'alive', forMs: 100 },
      stopTimeoutMs: 2000,
      // Mail goes on without, or over the other link; and no reset brings a network back.
      isVital: false,
    });

  const onLink = async (link: Link): Promise<void> => {
    const isWifi = link.kind === 'wifi';
    if (isWifi) {
      hasWifiAdapter = true;
      if (!hasWifiConfiguration) return;
      await start('wifi', wifiClient(link));
    }
    const client = dhcpClient(link, options.hostname);
    if (client !== undefined) await start(isWifi ? 'dhcp-wifi' : 'dhcp', client);
  };

  const runLinks = async (): Promise<void> => {
    if (settings.wifi !== undefined) {
      hasWifiConfiguration = await access(join(paths.wifiConfig, 'wpa_supplicant.conf')).then(
        () => true,
        () => false,
      );
    }
    await bringUpLinks(settings, onLink, { clock, log, signal });
  };

  const announce = async (): Promise<void> => {
    if (!canServe || settings.mdns === 'off') return;
    // The first addresses decide: a machine is not carried from a home to the Internet while it runs.
    while (settings.mdns === 'auto' && !isHomeNetwork(options.ownAddresses())) {
      await clock.sleep(addressPollMs, signal);
    }
    const file = join(paths.avahiConfig, 'avahi-daemon.conf');
    // Its own user from the start, so it needs no root to drop, and no chroot on a read-only filesystem.
    const args = ['--file', file, '--no-drop-root', '--no-chroot', '--no-proc-title'];
    const { uid, gid } = users.avahi;
    await start('mdns', { command: avahi, args }, { uid, gid });
  };

  const guarded = async (what: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      if (!signal.aborted) log.error(what, { error: messageOf(error) });
    }
  };

  const announced = (): string | undefined => {
    const lines = options.recentLines('mdns');
    return lines === undefined ? undefined : (announcedName(lines) ?? options.localName);
  };

  return {
    async run() {
      await Promise.all([
        ownsLinks && guarded('network cannot be brought up', runLinks),
        guarded('local name cannot be announced', announce),
      ]);
    },
    problems() {
      const { wifi } = settings;
      if (wifi === undefined || !ownsLinks || !canServe) return [];
      const hasAdapter = hasWifiAdapter || clock.monotonicMs() - startedMs < adapterTimeoutMs;
      const lines = options.recentLines('wifi') ?? [];
      const problem =
        wifiSetupProblem(wifi.ssid, { hasConfiguration: hasWifiConfiguration, hasAdapter }) ??
        wifiProblem(wifi.ssid, lines, clock.wallMs());
      return problem === undefined ? [] : [problem];
    },
    localUrl() {
      const name = announced();
      return name === undefined ? undefined : `http://${name}.local`;
    },
  };
}
