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
        };
      }),
  );
}

/** The interface to use: the first ethernet one with a carrier, else the first one. Pure. */
export function chooseInterface(interfaces: readonly NetworkInterface[]): string | undefined {
  const candidates = interfaces.filter(({ isEthernet }) => isEthernet);
  const physical = candidates.filter(({ isPhysical }) => isPhysical);
  const usable = physical.length > 0 ? physical : candidates;
  return (usable.find(({ hasCarrier }) => hasCarrier) ?? usable[0])?.name;
}
