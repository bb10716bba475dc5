import { mkdtempDisposable, readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
import { loadConfig, scrubSeedFile } from '../../../appliance/boot/load-config.ts';
import { keepWifiPassword } from '../../../appliance/boot/wifi-password.ts';

const home = { ssid: 'Home', country: 'DE' };

// The file is given to root, which only root may do.
describe.skipIf(process.getuid?.() !== 0)('keepWifiPassword', () => {
  async function place() {
    const directory = await mkdtempDisposable(join(tmpdir(), 'wifi-'));
    const seed = join(directory.path, 'chatmail.json');
    const kept = join(directory.path, 'wifi-password');
    const paths = {
      boot: directory.path,
      seed,
      lastGoodConfig: '/none',
      config: '/none',
      edgeConfig: '/none',
    };
    return {
      seed,
      kept,
      /** A start with this seed; the password in force. */
      start: async (document: object | undefined) => {
        if (document !== undefined) await writeFile(seed, `// mine\n${JSON.stringify(document)}`);
        const choice = await loadConfig(paths);
        if (choice.kind !== 'chosen') throw new Error(choice.problem.message);
        const password = await keepWifiPassword(choice.config, kept, silentLog);
        await scrubSeedFile(choice.config, paths, { signal: AbortSignal.timeout(5000), log: silentLog });
        return password;
      },
      [Symbol.asyncDispose]: () => directory.remove(),
    };
  }

  test('moves the password out of the seed, and keeps it for seeds without one', async () => {
    await using there = await place();
    const domain = 'chat.example.org';
    const seed = { domain, network: { wifi: home }, secrets: { wifiPassword: 'first one' } };
    expect(await there.start(seed)).toBe('first one');
    expect((await stat(there.kept)).mode & 0o777).toBe(0o600);
    const scrubbed = await readFile(there.seed, 'utf8');
    expect(scrubbed).toContain('// mine\n');
    expect(scrubbed).not.toContain('first one');
    expect(await there.start(undefined)).toBe('first one');
    // Edited on a laptop: another name without a password, then with one.
    const away = { wifi: { ...home, ssid: 'Away' } };
    expect(await there.start({ domain, network: away })).toBe('first one');
    expect(await there.start({ domain, network: away, secrets: { wifiPassword: 'second one' } })).toBe(
      'second one',
    );
  });

  test('gives an open network none, and forgets it with the Wi-Fi', async () => {
    await using there = await place();
    const domain = 'chat.example.org';
    await there.start({ domain, network: { wifi: home }, secrets: { wifiPassword: 'first one' } });
    expect(await there.start({ domain, network: { wifi: { ...home, security: 'open' } } })).toBeUndefined();
    expect(await there.start({ domain })).toBeUndefined();
    await expect(stat(there.kept)).rejects.toThrow('ENOENT');
  });
});
