/** Flags and configuration file of a build, validated once, before any work. */
import { readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import * as v from 'valibot';
import { ConfigError, systemCode } from '../appliance/base/errors.ts';
import {
  type Config,
  type ConfigDocument,
  maxConfigBytes,
  parseConfig,
  parseJsonWithComments,
} from '../appliance/contract/config.ts';
import { parseDomain, plainDomain } from '../appliance/contract/domain.ts';
import { withoutPin } from './packages/resolve.ts';
import { decodeLock, type Lock, maxLockfileBytes } from './packages/lockfile.ts';
import { type Compression, compressions } from './image/compress-image.ts';
import { targets } from '../images/index.ts';
import type { Target } from '../images/target.ts';
import type { SeedChange } from './seed-flags.ts';

export interface BuildConfig {
  /** What the appliance is told. */
  readonly appliance: Config;
  /** The same as the operator wrote it, without the defaults: becomes the seed. */
  readonly document: ConfigDocument;
  readonly target: Target;
  readonly outDirectory: string;
  /** Of the image; undefined leaves it as it is, a file with holes. */
  readonly compression: Compression | undefined;
  readonly mirror: string | undefined;
  readonly offline: boolean;
  readonly refresh: boolean;
  /** Build from exactly these packages. */
  readonly lock: Lock | undefined;
}

/** What a build puts into the seed beside the operator's own settings. */
export type SeedAdditions = Readonly<Pick<ConfigDocument, 'dns' | 'secrets'>>;

/** The flags of the build as parsed, before anything is checked. */
export interface BuildFlags {
  readonly domain?: string | undefined;
  readonly target?: string | undefined;
  readonly out?: string | undefined;
  readonly compress?: string | undefined;
  readonly mirror?: string | undefined;
  readonly offline?: boolean | undefined;
  readonly refresh?: boolean | undefined;
  readonly lock?: string | undefined;
  readonly config?: string | undefined;
}

/** What a configuration file may hold beside the appliance's own settings: under the key `build`. */
const buildSection = v.strictObject({
  target: v.optional(v.string()),
  out: v.optional(v.string()),
  compress: v.optional(v.string()),
  mirror: v.optional(v.string()),
});

/**
 * Merges flags over the file over defaults.
 * @param change what flags of their own say about the seed (seed-flags.ts)
 * @throws ConfigError naming the flag or the key, with its fix
 */
export async function readBuildConfig(
  flags: BuildFlags,
  cwd: string,
  change?: SeedChange,
): Promise<BuildConfig> {
  const { build, document: written } = await readFileSections(flags.config, cwd);
  const domain = flags.domain ?? written.domain;
  if (domain === undefined) {
    throw new ConfigError(
      '--domain',
      'No domain is given',
      'Say which: chatmail-build --domain chat.example.org',
    );
  }
  const target = findTarget(flags.target ?? build.target);
  const mirror = flags.mirror ?? build.mirror;
  if (mirror !== undefined) checkMirror(mirror);
  // Alone first: what stands on the command line shall not be said to stand in the file.
  if (flags.domain !== undefined) parseDomain(flags.domain);
  const fromFile = naming(flags.config, () => parseConfig({ ...written, domain }));
  const document = change === undefined ? written : change(written);
  const appliance = change === undefined ? fromFile : parseConfig({ ...document, domain });
  if (change !== undefined) requireWifiPassword(appliance);
  const lock = flags.lock === undefined ? undefined : await readLock(flags.lock, cwd, target);
  return {
    appliance,
    document: { ...document, domain: plainDomain(appliance.domain) },
    target,
    outDirectory: resolve(cwd, expandHome(flags.out ?? build.out ?? 'out')),
    compression: findCompression(flags.compress ?? build.compress),
    mirror,
    offline: flags.offline ?? false,
    refresh: flags.refresh ?? false,
    lock,
  };
}

/**
 * A device that is given the name of a network and no password never gets on it. (One that was set up before
 * may: it keeps the password on DATA, so this is no rule of the schema.)
 * @throws ConfigError
 */
export function requireWifiPassword({ network: { wifi }, secrets }: Config): void {
  if (wifi === undefined || wifi.security === 'open' || secrets.wifiPassword !== undefined) return;
  throw new ConfigError(
    'secrets.wifiPassword',
    `The Wi-Fi network ${JSON.stringify(wifi.ssid)} is named, and its password is not given`,
    'Say --wifi with the name of the network, and the password is asked for; or --wifi-open if it has none',
  );
}

async function readFileSections(file: string | undefined, cwd: string) {
  if (file === undefined) return { build: {}, document: {} as Record<string, unknown> };
  const text = await readInput('--config', file, cwd, maxConfigBytes);
  const parsed = naming(file, () => parseJsonWithComments(text));
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ConfigError(
      '(document)',
      `${file} does not hold a JSON object`,
      'Start it with { and end it with }',
    );
  }
  const { build: section = {}, ...document } = parsed as Record<string, unknown>;
  const result = v.safeParse(v.object({ build: buildSection }), { build: section });
  if (!result.success) {
    const [issue] = result.issues;
    const path = v.getDotPath(issue) ?? '';
    throw new ConfigError(
      path,
      issue.expected === 'never'
        ? `${file}: ${path} is not a known setting`
        : `${file}: ${path} should be ${issue.expected}, but is ${issue.received}`,
      `Known under "build" are: ${Object.keys(buildSection.entries).join(', ')}`,
    );
  }
  return { build: result.output.build, document };
}

/** Runs `read`, and has its complaint say which file it is about. */
function naming<T>(file: string | undefined, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof ConfigError) || file === undefined) throw error;
    throw new ConfigError(error.path, `${file}: ${error.message}`, error.fix, { cause: error });
  }
}

/**
 * The text of a file that a flag names.
 * @throws ConfigError naming the flag
 */
export async function readInput(flag: string, file: string, cwd: string, maxBytes: number): Promise<string> {
  const refuse = (why: string, cause?: unknown) =>
    new ConfigError(flag, `${flag} ${file} cannot be read: ${why}`, 'Check the path', { cause });
  const path = resolve(cwd, expandHome(file));
  try {
    const found = await stat(path);
    if (found.isDirectory()) throw refuse('it is a directory');
    if (found.size > maxBytes) throw refuse(`it is longer than ${maxBytes} bytes, so it is another file`);
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = systemCode(error);
    if (code === undefined || error instanceof ConfigError) throw error;
    throw refuse(readFailures[code] ?? code, error);
  }
}

const readFailures: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EACCES: 'you may not read it',
  EPERM: 'you may not read it',
};

/** A lockfile, once it is known to fit the target. */
async function readLock(file: string, cwd: string, target: Target): Promise<Lock> {
  const lock = decodeLock(await readInput('--lock', file, cwd, maxLockfileBytes), file);
  const refuse = (why: string) =>
    new ConfigError(
      '--lock',
      `The lockfile ${file} does not fit the target ${target.name}: ${why}`,
      'Give the lockfile of an image for the same target, made by the same version of chatmail-build',
    );
  if (lock.architecture !== target.architecture) {
    throw refuse(`it is for ${lock.architecture}, not for ${target.architecture}`);
  }
  const lacks = (wanted: readonly string[], there: readonly { readonly name: string }[]) =>
    wanted.find((name) => !there.some((one) => one.name === withoutPin(name)));
  const missing =
    lacks(target.rootPackages, lock.packages) ??
    lacks([...Object.keys(target.pickedFiles), ...target.bootPackages], lock.alone) ??
    lacks([target.node.name], lock.npm);
  if (missing !== undefined) throw refuse(`it lacks ${missing}`);
  return lock;
}

function findTarget(name: string | undefined): Target {
  const [first] = targets;
  const found = name === undefined ? first : targets.find((target) => target.name === name);
  if (found === undefined) {
    const known = targets.map((target) => `${target.name} (${target.title})`).join(', ');
    throw new ConfigError('--target', `There is no target ${JSON.stringify(name)}`, `Known are: ${known}`);
  }
  return found;
}

function findCompression(name: string | undefined): Compression | undefined {
  const found = compressions.find((one) => one === name);
  if (found !== undefined || name === undefined) return found;
  throw new ConfigError(
    '--compress',
    `There is no compression ${JSON.stringify(name)}`,
    `Known are: ${compressions.join(', ')}`,
  );
}

function checkMirror(mirror: string): void {
  const url = URL.parse(mirror);
  if (url === null || !['http:', 'https:', 'file:'].includes(url.protocol)) {
    throw new ConfigError(
      '--mirror',
      `${JSON.stringify(mirror)} is not the address of a mirror`,
      'Give one like http://ftp.debian.org/debian',
    );
  }
}

function expandHome(path: string): string {
  return path === '~' || path.startsWith('~/') ? homedir() + path.slice(1) : path;
}

/**
 * The text of the seed.
 * @param additions over what the operator wrote: keys, and what flags say
 */
export function seedText(config: Pick<BuildConfig, 'document'>, additions: SeedAdditions = {}): string {
  const { domain, ...rest } = { ...config.document, ...additions };
  return `${JSON.stringify({ domain, ...rest }, undefined, 2)}\n`;
}

/** `chat.example.org-vm-x86_64`: what the files of this build are called, without ending. */
export function imageBaseName(config: Pick<BuildConfig, 'appliance' | 'target'>): string {
  // An IPv6 address has colons, which Windows allows in no file name.
  return `${plainDomain(config.appliance.domain).replaceAll(':', '-')}-${config.target.name}`;
}
