/**
 * A device joins Wi-Fi: wpa_supplicant of Debian 13 with the configuration we render, against hostapd, over
 * the kernel's simulated radios (mac80211_hwsim) in a small machine. What it prints is what the console's
 * sentences are read from.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmod, cp, glob, mkdir, mkdtempDisposable, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { wifiProblem } from '../../../appliance/net/wifi-state.ts';
import { readTemplates, renderConfiguration } from '../../../appliance/render/render.ts';
import { unpackDebianPackages } from '../../builder/image/debian-files.ts';

const canRun = ['qemu-system-x86_64', 'cpio', 'xz'].every(
  (tool) => spawnSync(tool, ['--version']).error === undefined,
);

/** All that quoting could go wrong with. */
const ssid = 'Heim "netz" ü#\\';
const password = ' "#\\pass~ "';

const rsn = 'wpa=2\nrsn_pairwise=CCMP\n';
const accessPoints = {
  wpa2: `${rsn}wpa_key_mgmt=WPA-PSK\nwpa_passphrase=${password}\n`,
  wpa3: `${rsn}wpa_key_mgmt=SAE\nieee80211w=2\nsae_require_mfp=1\nsae_pwe=2\nsae_password=${password}\n`,
  hidden: `${rsn}wpa_key_mgmt=WPA-PSK SAE\nieee80211w=1\nignore_broadcast_ssid=1\nwpa_passphrase=${password}\n`,
  open: '',
} as const;
const devices = {
  right: [{ ssid }, password],
  hidden: [{ ssid, hidden: true }, password],
  open: [{ ssid, security: 'open' }, undefined],
  wrong: [{ ssid }, 'not the password'],
  missing: [{ ssid: 'Elsewhere' }, password],
} as const;
const scenarios = [
  ['wpa2', 'right', undefined],
  ['wpa3', 'right', undefined],
  ['hidden', 'hidden', undefined],
  ['open', 'open', undefined],
  ['wpa2', 'wrong', 'The password for the Wi-Fi network "Heim" is wrong'],
  ['wpa3', 'wrong', 'The password for the Wi-Fi network "Heim" is wrong'],
  ['wpa2', 'missing', 'The Wi-Fi network "Heim" is not found'],
] as const;

const packages = [
  'linux-image-amd64',
  'busybox-static',
  'hostapd',
  'iw',
  'wpasupplicant',
  'libc6',
  'libcap2',
  'libdbus-1-3',
  'libnl-3-200',
  'libnl-genl-3-200',
  'libnl-route-3-200',
  'libpcsclite1',
  'libreadline8t64',
  'libssl3t64',
  'libsystemd0',
  'libzstd1',
  'zlib1g',
];
/** In loading order. */
const modules = ['rfkill', 'cfg80211', 'libarc4', 'mac80211', 'ccm', 'cmac'];

// A busy machine may miss a frame of a handshake, and then try it all again.
const decided = 'EVENT-CONNECTED|reason=WRONG_KEY|pre-shared key may|auth_type=3 auth_transaction=2';

const init = `#!/usr/bin/busybox sh
/usr/bin/busybox mkdir -p /applets
/usr/bin/busybox --install -s /applets
export PATH=/applets:/usr/bin:/usr/sbin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for module in ${modules.join(' ')}; do insmod /modules/$module.ko; done
insmod /modules/mac80211_hwsim.ko radios=2
ip link set wlan1 up
${scenarios
  .map(
    ([accessPoint, device]) => `hostapd -B /etc/${accessPoint}.conf >/dev/null
: >/log
wpa_supplicant -i wlan1 -D nl80211 -c /etc/${device}.device.conf >>/log 2>&1 & supplicant=$!
tries=0
until [ $tries -ge 60 ] || grep -qE '${decided}' /log; do sleep 1; tries=$((tries + 1)); done
echo "SCENARIO ${accessPoint} ${device}"
sed 's/^/LOG /' /log
echo "CARRIER $(cat /sys/class/net/wlan1/carrier) WIRELESS $(ls -d /sys/class/net/wlan1/phy80211)"
iw dev wlan1 set power_save off && echo POWER-SAVE-OFF
kill $supplicant; killall hostapd; sleep 1`,
  )
  .join('\n')}
poweroff -f
`;

async function runMachine(): Promise<string> {
  const files = await unpackDebianPackages(packages, 'wifi');
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'wifi-'));
  const root = join(scratch.path, 'root');
  for (const name of ['proc', 'sys', 'dev', 'etc', 'modules', 'usr']) {
    await mkdir(join(root, name), { recursive: true });
  }
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) await symlink(`usr/${name}`, join(root, name));
  for (const name of ['bin', 'sbin', 'lib64', 'lib/x86_64-linux-gnu']) {
    await cp(join(files, 'usr', name), join(root, 'usr', name), { recursive: true, verbatimSymlinks: true });
  }
  for (const name of [...modules, 'mac80211_hwsim']) {
    for await (const path of glob(join(files, 'usr/lib/modules/*/kernel/**', `${name}.ko.xz`))) {
      const packed = join(root, 'modules', basename(path));
      await cp(path, packed);
      execFileSync('xz', ['-d', packed]);
    }
  }
  const hex = Buffer.from(ssid).toString('hex');
  for (const [name, security] of Object.entries(accessPoints)) {
    const text = `interface=wlan0\ndriver=nl80211\nssid2=${hex}\ncountry_code=DE\nhw_mode=g\nchannel=1\n${security}`;
    await writeFile(join(root, 'etc', `${name}.conf`), text);
  }
  const templates = await readTemplates(fileURLToPath(new URL('../../../templates', import.meta.url)));
  for (const [name, [wifi, wifiPassword]] of Object.entries(devices)) {
    const config = parseConfig({ domain: 'chat.example.org', network: { wifi: { country: 'DE', ...wifi } } });
    const machine = { memoryBytes: 1024 ** 3, cpuCount: 1 };
    const rendered = await renderConfiguration(config, machine, templates, { wifiPassword });
    const text = rendered.find(({ path }) => path.endsWith('/wpa_supplicant.conf'))?.text ?? '';
    await writeFile(join(root, 'etc', `${name}.device.conf`), text);
  }
  await writeFile(join(root, 'init'), init);
  await chmod(join(root, 'init'), 0o755);
  const initrd = join(scratch.path, 'initrd');
  execFileSync('sh', ['-c', 'find . | cpio -o -H newc --quiet >"$0"', initrd], { cwd: root });
  let kernel = '';
  for await (const path of glob(join(files, 'boot/vmlinuz-*'))) kernel = path;
  const options = `-accel tcg -cpu max,-cx16 -m 512 -nographic -no-reboot -append console=ttyS0\\ quiet\\ panic=1`;
  const args = options.split(/(?<!\\) /).map((arg) => arg.replaceAll('\\ ', ' '));
  const { stdout } = spawnSync('qemu-system-x86_64', [...args, '-kernel', kernel, '-initrd', initrd], {
    encoding: 'latin1',
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 900_000,
  });
  return stdout.replaceAll('\r', '');
}

describe.skipIf(!canRun && process.env.CI === undefined)('Wi-Fi', () => {
  let output = '';

  beforeAll(async () => {
    output = await runMachine();
  }, 1_200_000);

  test.each(scenarios)('access point %s, device %s: %s', (accessPoint, device, sentence) => {
    const part = output.split(`SCENARIO ${accessPoint} ${device}\n`)[1]?.split('SCENARIO')[0] ?? output;
    const startMs = Date.UTC(2026, 10, 21);
    const time = new Date(startMs).toISOString();
    const lines = [...part.matchAll(/^LOG (.*)$/gm)].map(([, line]) => `${time} ${line}`);
    expect(wifiProblem('Heim', lines, startMs + 60_000)?.message, part).toBe(sentence);
    expect(part).toContain(
      `CARRIER ${sentence === undefined ? 1 : 0} WIRELESS /sys/class/net/wlan1/phy80211`,
    );
    expect(part).toContain('POWER-SAVE-OFF');
  });
});
