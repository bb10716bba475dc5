/** Network interfaces as sysfs shows them. Kernel: Documentation/ABI/testing/sysfs-class-net. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface NetworkInterface {
  readonly name: string;
  readonly isEthernet: boolean;
  /** A cable is plugged in, or the virtual switch is there. Known only while the interface is up. */
  readonly hasCarrier: boolean;
  /** Has a device below it: neither a bridge nor a tunnel. */
  readonly isPhysical: boolean;
  /** Wi-Fi. Its carrier is there once it is on its network. */
  readonly isWireless: boolean;
}

/** ARPHRD_ETHER (if_arp.h). */
const ethernetType = '1';

/** All interfaces but loopback. `directory` is another one only in tests. */
export async function listInterfaces(directory = '/sys/class/net'): Promise<readonly NetworkInterface[]> {
  const names = await readdir(directory).catch(() => []);
  return Promise.all(
    names
      .filter((name) => name !== 'lo' && name !== 'bonding_masters')
      .toSorted()
      .map(async (name) => {
        const read = async (file: string): Promise<string> =>
          // Reading carrier of an interface that is down fails with EINVAL.
          (await readFile(join(directory, name, file), 'latin1').catch(() => '')).trim();
        const entries: readonly string[] = await readdir(join(directory, name)).catch(() => []);
        return {
          name,
          isEthernet: (await read('type')) === ethernetType,
          hasCarrier: (await read('carrier')) === '1',
          isPhysical: entries.includes('device'),
          isWireless: entries.includes('phy80211') || entries.includes('wireless'),
        };
      }),
  );
}

/** How a device reaches its network: one cable, and one Wi-Fi at most. */
export type LinkKind = 'cable' | 'wifi';

/** The interfaces that may be a link of a kind. Pure. */
export function candidates(
  interfaces: readonly NetworkInterface[],
  kind: LinkKind,
): readonly NetworkInterface[] {
  const ethernet = interfaces.filter(({ isEthernet, isWireless }) => {
    return isEthernet && isWireless === (kind === 'wifi');
  });
  const physical = ethernet.filter(({ isPhysical }) => isPhysical);
  return physical.length > 0 ? physical : ethernet;
}

/** The interface to use: the one with this name, else the first one with a carrier, else the first one. Pure. */
export function chooseInterface(
  interfaces: readonly NetworkInterface[],
  kind: LinkKind,
  name?: string,
): string | undefined {
  const usable = candidates(interfaces, kind);
  const chosen = usable.find((one) => one.name === name) ?? usable.find(({ hasCarrier }) => hasCarrier);
  return (chosen ?? usable[0])?.name;
}
