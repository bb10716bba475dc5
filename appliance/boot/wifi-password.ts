/** The password of the Wi-Fi network: taken out of the seed, kept on DATA, for root alone. */
import { rm } from 'node:fs/promises';
import { readTextIfPresent, writeFileAtomic } from '../base/atomic-file.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../contract/config.ts';

/**
 * Keeps the password that came with the seed, or the one from before when it brought none. A seed without
 * Wi-Fi takes it away.
 * @returns the password in force; undefined when there is none, or the network is open
 */
export async function keepWifiPassword(
  config: Pick<Config, 'network' | 'secrets'>,
  path: string,
  log: Log,
): Promise<string | undefined> {
  const present = await readTextIfPresent(path);
  const { wifi } = config.network;
  if (wifi === undefined) {
    if (present === undefined) return undefined;
    await rm(path, { force: true });
    log.info('Wi-Fi password removed');
    return undefined;
  }
  if (wifi.security === 'open') return undefined;
  const { wifiPassword } = config.secrets;
  if (wifiPassword === undefined || wifiPassword === present) return present;
  await writeFileAtomic(path, wifiPassword, { mode: 0o600, owner: { uid: 0, gid: 0 } });
  log.info('Wi-Fi password taken from the seed');
  return wifiPassword;
}
