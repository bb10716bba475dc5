/** wpa_supplicant itself reads what we render for it: networks with any name and any password. */
import { spawnSync } from 'node:child_process';
import { pbkdf2Sync } from 'node:crypto';
import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../../appliance/contract/config.ts';
import { readTemplates, renderConfiguration } from '../../../appliance/render/render.ts';

const program = '/usr/sbin/wpa_supplicant';
const hasTool = spawnSync(program, ['-v']).error === undefined;
const templates = await readTemplates(fileURLToPath(new URL('../../../templates', import.meta.url)));

/** What wpa_supplicant says it has understood; it ends by itself, since there is no such interface. */
async function understood(wifi: object, wifiPassword?: string) {
  const config = parseConfig({ domain: 'chat.example.org', network: { wifi: { country: 'DE', ...wifi } } });
  const machine = { memoryBytes: 1024 ** 3, cpuCount: 1 };
  const files = await renderConfiguration(config, machine, templates, { wifiPassword });
  const file = files.find(({ path }) => path === '/run/wpa_supplicant/wpa_supplicant.conf');
  if (file === undefined) throw new Error('nothing rendered');
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'wpa-'));
  const path = join(scratch.path, 'wpa_supplicant.conf');
  await writeFile(path, file.text);
  const { stdout } = spawnSync(program, ['-D', 'wired', '-i', 'none0', '-c', path, '-dd', '-K'], {
    encoding: 'utf8',
    timeout: 10_000,
  });
  const dump = (name: string) => {
    const lines = new RegExp(`^${name} - hexdump(?:_ascii)?\\(len=(\\d+)\\):(.*(?:\\n {5}.*)*)`, 'm').exec(
      stdout,
    );
    if (lines === null) return undefined;
    // Sixteen bytes a line, and after three spaces the same as text.
    const hex = (lines[2] ?? '').split('\n').map((line) => line.trim().split('   ')[0] ?? '');
    return Buffer.from(hex.join('').replaceAll(/[^0-9a-f]/g, ''), 'hex').subarray(0, Number(lines[1]));
  };
  return {
    mode: file.mode,
    isAccepted: !/Failed to read|Invalid|failed to parse/.test(stdout) && stdout.includes('Priority group'),
    country: /^country='(..)'/m.exec(stdout)?.[1],
    keyManagement: Number(/^key_mgmt: (0x[0-9a-f]+)/m.exec(stdout)?.[1]),
    isHidden: stdout.includes('scan_ssid=1'),
    ssid: dump('ssid')?.toString(),
    psk: dump('PSK')?.toString('hex'),
    saePassword: dump('sae_password')?.toString('latin1'),
  };
}

/** defs.h: WPA_KEY_MGMT_PSK 1, NONE 2, PSK_SHA256 8, SAE 10. */
const bits = (...numbers: number[]) => numbers.reduce((sum, bit) => sum | (1 << bit), 0);

describe.skipIf(!hasTool && process.env.CI === undefined)('wpa_supplicant', () => {
  test('reads any name and any password of a network', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc
          .oneof(
            fc.string({ minLength: 1, unit: 'grapheme' }),
            fc.constantFrom('"', '#', 'a\nb', 'P"\\x00\'', '"x'),
          )
          .filter((text) => Buffer.from(text).length <= 32 && !text.includes('\0')),
        fc.string({
          minLength: 8,
          maxLength: 63,
          unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
        }),
        async (ssid, password) => {
          expect(await understood({ ssid }, password)).toEqual({
            mode: 0o600,
            isAccepted: true,
            country: 'DE',
            keyManagement: bits(1, 8, 10),
            isHidden: false,
            ssid,
            psk: pbkdf2Sync(password, ssid, 4096, 32, 'sha1').toString('hex'),
            saePassword: password,
          });
        },
      ),
      { numRuns: 60 },
    );
  }, 60_000);

  test('reads a key in hexadecimal, which WPA3 has no use for', async () => {
    const key = 'AB'.repeat(32);
    expect(await understood({ ssid: 'Home', hidden: true }, key)).toMatchObject({
      isAccepted: true,
      isHidden: true,
      keyManagement: bits(1, 8),
      psk: key.toLowerCase(),
      saePassword: undefined,
    });
  });

  test('reads an open network, whose name says nothing about passwords', async () => {
    expect(await understood({ ssid: 'Cafe', security: 'open' }, 'left from before')).toMatchObject({
      isAccepted: true,
      keyManagement: bits(2),
      psk: undefined,
      saePassword: undefined,
    });
  });
});
