import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { tools } from '../../../appliance/base/tools.ts';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { chooseInterface, listInterfaces } from '../../../appliance/net/interfaces.ts';
import { dhcpClient, interfaceCommands, interfaceSysctls } from '../../../appliance/net/plan.ts';

const network = (settings: object) => parseConfig({ domain: 'chat.example.org', network: settings }).network;
const nic = (name: string, rest: object = {}) => ({
  name,
  isEthernet: true,
  hasCarrier: false,
  isPhysical: true,
  ...rest,
});

describe('chooseInterface', () => {
  test('prefers a cable that is plugged in, then the first', () => {
    expect(chooseInterface([nic('eth0'), nic('eth1', { hasCarrier: true })])).toBe('eth1');
    expect(chooseInterface([nic('eth0'), nic('eth1')])).toBe('eth0');
  });

  test('leaves bridges to hardware, and tunnels alone', () => {
    expect(chooseInterface([nic('br0', { isPhysical: false, hasCarrier: true }), nic('eth0')])).toBe('eth0');
    expect(chooseInterface([nic('veth0', { isPhysical: false })])).toBe('veth0');
    expect(chooseInterface([nic('tun0', { isEthernet: false, hasCarrier: true })])).toBeUndefined();
  });
});

describe('listInterfaces', () => {
  test('reads what sysfs shows, without loopback', async () => {
    await using sys = await mkdtempDisposable(join(tmpdir(), 'net-'));
    for (const [name, type, carrier] of [
      ['eth0', '1', '1'],
      ['lo', '772', '1'],
      ['wg0', '65534', ''],
    ] as const) {
      await mkdir(join(sys.path, name));
      await writeFile(join(sys.path, name, 'type'), `${type}\n`);
      await writeFile(join(sys.path, name, 'carrier'), `${carrier}\n`);
    }
    await mkdir(join(sys.path, 'eth0/device'));
    expect(await listInterfaces(sys.path)).toEqual([
      { name: 'eth0', isEthernet: true, hasCarrier: true, isPhysical: true },
      { name: 'wg0', isEthernet: false, hasCarrier: false, isPhysical: false },
    ]);
  });
});

describe('interfaceCommands', () => {
  const lines = (settings: object) =>
    interfaceCommands('eth0', network(settings)).map((command) =>
      command.join(' ').replace(tools.busybox, ''),
    );

  test('brings the interface up, and leaves addresses to DHCP and the kernel by default', () => {
    expect(lines({})).toEqual([' ip link set eth0 up']);
    expect(interfaceSysctls('eth0', network({})).map(({ value }) => value)).toEqual(['0', '1']);
    expect(interfaceSysctls('eth0', network({ ipv6: 'off' }))).toEqual([
      { path: 'net/ipv6/conf/eth0/disable_ipv6', value: '1' },
    ]);
  });

  test('reaches a gateway outside the prefix', () => {
    expect(
      lines({
        ipv4: { address: '192.0.2.5/32', gateway: '198.51.100.1' },
        ipv6: { address: '2001:db8::5/64', gateway: 'fe80::1' },
      }),
    ).toEqual([
      ' ip link set eth0 up',
      ' ip -4 addr replace 192.0.2.5/32 dev eth0',
      ' ip -4 route replace 198.51.100.1/32 dev eth0',
      ' ip -4 route replace default via 198.51.100.1 dev eth0',
      ' ip -6 addr replace 2001:db8::5/64 dev eth0',
      ' ip -6 route replace fe80::1/128 dev eth0',
      ' ip -6 route replace default via fe80::1 dev eth0',
    ]);
  });
});

describe('dhcpClient', () => {
  test('runs only where DHCP is wanted', () => {
    expect(dhcpClient('eth0', network({}), 'chat.example.org')?.args).toContain('hostname:chat.example.org');
    expect(dhcpClient('eth0', network({ ipv4: 'off' }), 'x')).toBeUndefined();
  });
});
