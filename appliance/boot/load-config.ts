/** Reads the seed and the last good configuration, moves secrets to DATA, and puts one in force. */
import { stat } from 'node:fs/promises';
import { readTextIfPresent, writeFileAtomic } from '../base/atomic-file.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type Config, maxConfigBytes, toDocument } from '../contract/config.ts';
import { groups } from '../contract/users.ts';
import { replaceSecretFile } from './boot-partition.ts';
import { chooseConfig, type ConfigChoice } from './choose-config.ts';
import { scrubSeed } from './scrub-seed.ts';

export interface ConfigPaths {
  readonly boot: string;
  readonly seed: string;
  readonly lastGoodConfig: string;
  readonly config: string;
  readonly edgeConfig: string;
}

/** Reads and chooses; changes nothing. */
export async function loadConfig({ seed, lastGoodConfig }: ConfigPaths): Promise<ConfigChoice> {
  return chooseConfig(await readBounded(seed), await readBounded(lastGoodConfig));
}

/** What is longer than a configuration can be is cut one byte beyond, so that the parser says so. */
async function readBounded(path: string): Promise<string | undefined> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size > maxConfigBytes) return ' '.repeat(maxConfigBytes + 1);
  return readTextIfPresent(path);
}

/**
 * Writes the configuration in force for relay and edge, and remembers it as the last good one. Only after
 * its secrets are on DATA (boot/keys.ts): they are in neither file.
 */
export async function putInForce(config: Config, paths: ConfigPaths): Promise<void> {
  const text = configText(config);
  if ((await readTextIfPresent(paths.lastGoodConfig)) !== text) {
    await writeFileAtomic(paths.lastGoodConfig, text, { mode: 0o600 });
  }
  // Strangers meet edge: what it need not know it cannot lose.
  const forEdge = { ...config, accounts: { ...config.accounts, tokens: [] } };
  for (const [path, gid, content] of [
    [paths.config, groups.relay, text],
    [paths.edgeConfig, groups.edge, configText(forEdge)],
  ] as const) {
    await writeFileAtomic(path, content, { mode: 0o640, owner: { uid: 0, gid }, flush: false });
  }
}

function configText(config: Config): string {
  return `${JSON.stringify(toDocument({ ...config, secrets: {} }), undefined, 2)}\n`;
}

/** Takes the secrets out of the seed, once they are on DATA. A failure is logged: the relay runs all the same. */
export async function scrubSeedFile(
  config: Config,
  paths: ConfigPaths,
  { signal, log }: { readonly signal: AbortSignal; readonly log: Log },
): Promise<void> {
  if (Object.values(config.secrets).every((secret) => secret === undefined)) return;
  try {
    const text = await readTextIfPresent(paths.seed);
    if (text !== undefined) await replaceSecretFile(paths.boot, paths.seed, scrubSeed(text, config), signal);
    log.info('secrets taken out of the seed');
  } catch (error) {
    log.error('secrets cannot be taken out of the seed', { error: messageOf(error) });
  }
}
