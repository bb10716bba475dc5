import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { tools } from '../../../appliance/base/tools.ts';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { chooseInterface, listInterfaces } from '../../../appliance/net/interfaces.ts';
import { dhcpClient, interfaceCommands, interfaceSysctls, planLinks } from '../../../appliance/net/plan.ts';

const network = (settings: object) => parseConfig({ domain: 'chat.example.org', network: settings }).network;
const nic = (name: string, rest: object = {}) => ({
  name,
  isEthernet: true,
  hasCarrier: false,
  isPhysical: true,
  isWireless: false,
  ...rest,
});

const cable = (settings: object) => ({ kind: 'cable', name: 'eth0', network: network(settings) }) as const;
const wifi = { ssid: 'Home', country: 'DE' };
const wlan = (rest: object = {}) => nic('wlan0', { isWireless: true, ...rest });

describe('chooseInterface', () => {
  test('prefers a cable that is plugged in, then the first', () => {
    expect(chooseInterface([nic('eth0'), nic('eth1', { hasCarrier: true })], 'cable')).toBe('eth1');
    expect(chooseInterface([nic('eth0'), nic('eth1')], 'cable')).toBe('eth0');
  });

  test('leaves bridges to hardware, and tunnels alone', () => {
    expect(chooseInterface([nic('br0', { isPhysical: false, hasCarrier: true }), nic('eth0')], 'cable')).toBe(
      'eth0',
    );
    expect(chooseInterface([nic('veth0', { isPhysical: false })], 'cable')).toBe('veth0');
    expect(chooseInterface([nic('tun0', { isEthernet: false, hasCarrier: true })], 'cable')).toBeUndefined();
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
      { name: 'eth0', isEthernet: true, hasCarrier: true, isPhysical: true, isWireless: false },
      { name: 'wg0', isEthernet: false, hasCarrier: false, isPhysical: false, isWireless: false },
    ]);
  });
});

describe('planLinks', () => {
  const fixed = { ipv4: { address: '192.0.2.5/24', gateway: '192.0.2.1' } };
  const plan = (
    settings: object,
    interfaces: readonly ReturnType<typeof nic>[],
    rest: { isSettled?: boolean; addressed?: 'cable' | 'wifi' } = {},
  ) =>
    planLinks(network(settings), { interfaces, isSettled: true, ...rest }).map(
      ({ kind, name, network: { ipv4 } }) => [kind, name, typeof ipv4 === 'string' ? ipv4 : 'fixed'],
    );
  const plugged = nic('eth0', { hasCarrier: true });

  test('leaves Wi-Fi alone that nobody configured', () => {
    expect(plan({}, [plugged, wlan()])).toEqual([['cable', 'eth0', 'dhcp']]);
    expect(plan({}, [wlan()])).toEqual([]);
  });

  test('waits for a carrier, but not for ever', () => {
    expect(plan({ wifi }, [nic('eth0'), wlan()], { isSettled: false })).toEqual([]);
    expect(plan({ wifi }, [plugged, wlan()], { isSettled: false })).toEqual([
      ['cable', 'eth0', 'dhcp'],
      ['wifi', 'wlan0', 'dhcp'],
    ]);
  });

  test('gives the fixed address to the cable that is plugged in, else to Wi-Fi, and keeps to it', () => {
    const settings = { ...fixed, wifi };
    expect(plan(settings, [plugged, wlan()])).toEqual([
      ['cable', 'eth0', 'fixed'],
      ['wifi', 'wlan0', 'dhcp'],
    ]);
    expect(plan(settings, [nic('eth0'), wlan()])).toEqual([
      ['cable', 'eth0', 'dhcp'],
      ['wifi', 'wlan0', 'fixed'],
    ]);
    expect(plan(settings, [wlan()])).toEqual([['wifi', 'wlan0', 'fixed']]);
    expect(plan(settings, [plugged, wlan()], { addressed: 'wifi' })).toEqual([
      ['cable', 'eth0', 'dhcp'],
      ['wifi', 'wlan0', 'fixed'],
    ]);
    expect(plan(fixed, [nic('eth0'), wlan()])).toEqual([['cable', 'eth0', 'fixed']]);
  });

  test('follows the interface that is named, once it is there, and does without one that never comes', () => {
    const named = (name: string) => ({ ...fixed, wifi, interface: name });
    expect(plan(named('wlan0'), [plugged, wlan()])).toEqual([
      ['cable', 'eth0', 'dhcp'],
      ['wifi', 'wlan0', 'fixed'],
    ]);
    expect(plan(named('eth1'), [plugged, wlan()], { isSettled: false })).toEqual([]);
    expect(plan(named('eth1'), [plugged, nic('eth1'), wlan()])).toEqual([
      ['cable', 'eth1', 'fixed'],
      ['wifi', 'wlan0', 'dhcp'],
    ]);
    expect(plan(named('eth1'), [plugged, wlan()])).toEqual([
      ['cable', 'eth0', 'fixed'],
      ['wifi', 'wlan0', 'dhcp'],
    ]);
  });
});

describe('interfaceCommands', () => {
  const lines = (settings: object) =>
    interfaceCommands(cable(settings)).map((command) => command.join(' ').replace(tools.busybox, ''));

  test('brings the interface up, and leaves addresses to DHCP and the kernel by default', () => {
    expect(lines({})).toEqual([' ip link set eth0 up']);
    expect(interfaceSysctls(cable({})).map(({ value }) => value)).toEqual(['0', '1']);
    expect(interfaceSysctls(cable({ ipv6: 'off' }))).toEqual([
      { path: 'net/ipv6/conf/eth0/disable_ipv6', value: '1' },
    ]);
  });

  test('ranks Wi-Fi behind a cable, and forgets routes of a cable that is pulled', () => {
    const link = {
      kind: 'wifi',
      name: 'wlan0',
      network: network({ wifi, ipv4: { address: '192.0.2.5/24', gateway: '192.0.2.1' } }),
    } as const;
    expect(interfaceCommands(link).at(-1)?.join(' ')).toMatch(/ via 192\.0\.2\.1 dev wlan0 metric 600$/);
    const settings = Object.fromEntries(interfaceSysctls(link).map(({ path, value }) => [path, value]));
    expect(settings).toMatchObject({
      'net/ipv4/conf/wlan0/ignore_routes_with_linkdown': '1',
      'net/ipv6/conf/wlan0/ignore_routes_with_linkdown': '1',
      'net/ipv6/conf/wlan0/ra_defrtr_metric': '2048',
    });
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
    expect(dhcpClient(cable({}), 'chat.example.org')?.args).toContain('hostname:chat.example.org');
    expect(dhcpClient(cable({ ipv4: 'off' }), 'x')).toBeUndefined();
  });
});
