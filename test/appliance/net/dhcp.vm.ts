/**
 * The network brought up as on a device, in two namespaces with a cable between them: busybox udhcpd on one
 * end, our commands, busybox udhcpc and its script on the other. Needs root.
 */
import { execFileSync, type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { tools } from '../../../appliance/base/tools.ts';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { paths } from '../../../appliance/contract/paths.ts';
import { dhcpClient, interfaceCommands, interfaceSysctls, planLinks } from '../../../appliance/net/plan.ts';

const script = fileURLToPath(new URL('../../../templates/network/udhcpc.sh', import.meta.url));
const canRun = process.getuid?.() === 0 && existsSync(tools.busybox) && existsSync('/usr/sbin/ip');
let made = 0;

interface Cable {
  readonly directory: string;
  /** Runs a command in the device's namespace, with /run/network to itself. */
  device(...command: string[]): string;
  /** A second cable, which the device takes for its Wi-Fi: wlan0 there, wlan0 at the server. */
  addWifi(): void;
  /** Sets the server's end of an interface up or down. */
  setServer(name: string, state: 'up' | 'down'): void;
  /** Starts one that goes on. */
  spawn(where: 'device' | 'server', ...command: string[]): ChildProcess;
}

async function makeCable(): Promise<Cable> {
  const id = `${process.pid}-${(made += 1)}`;
  const names = { device: `device-${id}`, server: `server-${id}` };
  const temporary = await mkdtempDisposable(join(tmpdir(), 'dhcp-'));
  const ip = (...args: string[]) => execFileSync('/usr/sbin/ip', args, { encoding: 'utf8' });
  const children: ChildProcess[] = [];
  onTestFinished(async () => {
    for (const child of children) child.kill('SIGKILL');
    for (const name of Object.values(names)) ip('netns', 'del', name);
    await temporary.remove();
  });
  for (const name of Object.values(names)) ip('netns', 'add', name);
  ip(
    '-n',
    names.server,
    'link',
    'add',
    'eth0',
    'type',
    'veth',
    'peer',
    'name',
    'eth0',
    'netns',
    names.device,
  );
  ip('-n', names.server, 'addr', 'add', '192.0.2.1/24', 'dev', 'eth0');
  ip('-n', names.server, 'link', 'set', 'eth0', 'up');
  // The script writes to /run/network: each device has a /run of its own.
  const mountRun =
    'mount -t tmpfs tmpfs /run && mkdir /run/network && mount --bind "$0" /run/network && exec "$@"';
  const inside = (name: string, command: readonly string[]): string[] =>
    ['netns', 'exec', name, 'unshare', '--mount', tools.busybox, 'sh', '-c', mountRun, temporary.path].concat(
      command,
    );
  return {
    directory: temporary.path,
    device: (...command) => ip(...inside(names.device, command)),
    setServer: (name, state) => void ip('-n', names.server, 'link', 'set', name, state),
    addWifi: () => {
      const peer = ['peer', 'name', 'wlan0', 'netns', names.device];
      ip('-n', names.server, 'link', 'add', 'wlan0', 'type', 'veth', ...peer);
      ip('-n', names.server, 'addr', 'add', '198.51.100.1/24', 'dev', 'wlan0');
      ip('-n', names.server, 'link', 'set', 'wlan0', 'up');
    },
    spawn: (where, ...command) => {
      const child = spawn('/usr/sbin/ip', inside(names[where], command), { stdio: 'ignore' });
      children.push(child);
      return child;
    },
  };
}

/** busybox udhcpd at the server's end of an interface. */
async function serve(cable: Cable, where: 'eth0' | 'wlan0', ...options: string[]): Promise<void> {
  const network = where === 'eth0' ? '192.0.2' : '198.51.100';
  const file = join(cable.directory, `udhcpd-${where}.conf`);
  const leases = join(cable.directory, `leases-${where}`);
  await writeFile(
    file,
    [
      `start ${network}.50`,
      `end ${network}.59`,
      `interface ${where}`,
      `lease_file ${leases}`,
      `pidfile ${cable.directory}/udhcpd-${where}.pid`,
      'option subnet 255.255.255.0',
      `option router ${network}.1`,
      `option dns ${network}.53`,
      ...options,
      '',
    ].join('\n'),
  );
  await writeFile(leases, '');
  cable.spawn('server', tools.busybox, 'udhcpd', '-f', file);
}

const settings = (network: object) => parseConfig({ domain: 'chat.example.org', network }).network;

const cableLink = (network: ReturnType<typeof settings>) =>
  ({ kind: 'cable', name: 'eth0', network }) as const;

describe.skipIf(!canRun && process.env.CI === undefined)('The network of a device', () => {
  test('gets its address and default route by DHCP', async () => {
    const cable = await makeCable();
    await serve(cable, 'eth0');
    const network = settings({});
    for (const command of interfaceCommands(cableLink(network))) cable.device(...command);
    const client = dhcpClient(cableLink(network), 'chat.example.org');
    if (client === undefined) throw new Error('no client');
    cable.spawn(
      'device',
      client.command,
      ...client.args.map((arg) => (arg === paths.dhcpScript ? script : arg)),
    );
    await expect
      .poll(() => readFile(join(cable.directory, 'lease.eth0'), 'utf8').catch(() => ''), { timeout: 15_000 })
      .toMatch(
        /^interface=eth0\naddress=192\.0\.2\.5\d\/24\ngateway=192\.0\.2\.1\nresolvers=192\.0\.2\.53\n$/,
      );
    expect(cable.device('ip', '-4', '-o', 'addr', 'show', 'dev', 'eth0')).toMatch(/inet 192\.0\.2\.5\d\/24/);
    expect(cable.device('ip', '-4', 'route')).toContain('default via 192.0.2.1 dev eth0');
  });

  test('takes classless routes in place of the router (RFC 3442)', async () => {
    const cable = await makeCable();
    await serve(cable, 'eth0', 'option staticroutes 198.51.100.0/24 192.0.2.2, 0.0.0.0/0 192.0.2.3');
    const network = settings({});
    for (const command of interfaceCommands(cableLink(network))) cable.device(...command);
    const client = dhcpClient(cableLink(network), 'chat.example.org');
    if (client === undefined) throw new Error('no client');
    cable.spawn(
      'device',
      client.command,
      ...client.args.map((arg) => (arg === paths.dhcpScript ? script : arg)),
    );
    await expect
      .poll(() => readFile(join(cable.directory, 'lease.eth0'), 'utf8').catch(() => ''), { timeout: 15_000 })
      .toContain('address=192.0.2.5');
    const routes = cable.device('ip', '-4', 'route');
    expect(routes).toContain('default via 192.0.2.3 dev eth0');
    expect(routes).toContain('198.51.100.0/24 via 192.0.2.2 dev eth0');
  });

  test('lets go of the address when the lease is gone', async () => {
    const cable = await makeCable();
    cable.device('ip', 'addr', 'add', '192.0.2.77/24', 'dev', 'eth0');
    cable.device('/usr/bin/env', 'interface=eth0', tools.busybox, 'sh', script, 'deconfig');
    expect(cable.device('ip', '-4', '-o', 'addr', 'show', 'dev', 'eth0')).not.toContain('192.0.2.77');
  });

  test('goes on over Wi-Fi while the cable is pulled, and comes back to it', async () => {
    const cable = await makeCable();
    cable.addWifi();
    const network = settings({ wifi: { ssid: 'Home', country: 'DE' } });
    const nic = (name: string, isWireless: boolean) => ({
      name,
      isWireless,
      isEthernet: true,
      isPhysical: true,
      hasCarrier: true,
    });
    const interfaces = [nic('eth0', false), nic('wlan0', true)];
    const links = planLinks(network, { interfaces, isSettled: true });
    expect(links.map(({ name }) => name)).toEqual(['eth0', 'wlan0']);
    await serve(cable, 'eth0');
    await serve(cable, 'wlan0');
    for (const link of links) {
      for (const { path, value } of interfaceSysctls(link)) {
        cable.device(tools.busybox, 'sh', '-c', `echo ${value} >/proc/sys/${path}`);
      }
      for (const command of interfaceCommands(link)) cable.device(...command);
      const client = dhcpClient(link, 'chat.example.org');
      if (client === undefined) throw new Error('no client');
      const args = client.args.map((arg) => (arg === paths.dhcpScript ? script : arg));
      const env = Object.entries(client.env ?? {}).map(([name, value]) => `${name}=${value}`);
      cable.spawn('device', '/usr/bin/env', ...env, client.command, ...args);
    }
    const way = () => cable.device('ip', '-4', 'route', 'get', '203.0.113.9');
    const lease = (name: string) => readFile(join(cable.directory, name), 'utf8').catch(() => '');
    await expect.poll(() => lease('lease.eth0'), { timeout: 15_000 }).toContain('192.0.2.');
    await expect.poll(() => lease('lease.wlan0'), { timeout: 15_000 }).toContain('198.51.100.');
    expect(way()).toContain('via 192.0.2.1 dev eth0');
    cable.setServer('eth0', 'down');
    await expect.poll(way, { timeout: 5000 }).toContain('via 198.51.100.1 dev wlan0');
    cable.setServer('eth0', 'up');
    await expect.poll(way, { timeout: 5000 }).toContain('via 192.0.2.1 dev eth0');
  });

  test('stands on fixed addresses, with gateways outside the prefix', async () => {
    const cable = await makeCable();
    const network = settings({
      ipv4: { address: '203.0.113.5/32', gateway: '192.0.2.1' },
      ipv6: { address: '2001:db8::5/64', gateway: 'fe80::1' },
    });
    // Twice: a supervisor that starts again does it over.
    for (const command of [
      ...interfaceCommands(cableLink(network)),
      ...interfaceCommands(cableLink(network)),
    ]) {
      cable.device(...command);
    }
    expect(cable.device('ip', '-4', 'route')).toContain('default via 192.0.2.1 dev eth0');
    expect(cable.device('ip', '-6', 'route')).toContain('default via fe80::1 dev eth0');
    expect(cable.device('ip', '-6', 'addr', 'show', 'dev', 'eth0')).toContain('2001:db8::5/64');
  });
});
