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
import { plainDomain } from '../appliance/contract/domain.ts';
import { targets } from '../images/index.ts';
import type { Target } from '../images/target.ts';

export interface BuildConfig {
  /** What the appliance is told. */
  readonly appliance: Config;
  /** The same as the operator wrote it, without the defaults: becomes the seed. */
  readonly document: ConfigDocument;
  readonly target: Target;
  readonly outDirectory: string;
  readonly mirror: string | undefined;
  readonly offline: boolean;
  readonly refresh: boolean;
  readonly lockFile: string | undefined;
}

/** The flags of the build as parsed, before anything is checked. */
export interface BuildFlags {
  readonly domain?: string | undefined;
  readonly target?: string | undefined;
  readonly out?: string | undefined;
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
  mirror: v.optional(v.string()),
});

/**
 * Merges flags over the file over defaults.
 * @throws ConfigError naming the flag or the key, with its fix
 */
export async function readBuildConfig(flags: BuildFlags, cwd: string): Promise<BuildConfig> {
  const { build, document } = await readFileSections(flags.config, cwd);
  const domain = flags.domain ?? document.domain;
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
  const lockFile = flags.lock === undefined ? undefined : resolve(cwd, flags.lock);
  if (lockFile !== undefined) await stat(lockFile);
  const appliance = parseConfig({ ...document, domain });
  return {
    appliance,
    document: { ...document, domain: plainDomain(appliance.domain) },
    target,
    outDirectory: resolve(cwd, expandHome(flags.out ?? build.out ?? 'out')),
    mirror,
    offline: flags.offline ?? false,
    refresh: flags.refresh ?? false,
    lockFile,
  };
}

async function readFileSections(file: string | undefined, cwd: string) {
  if (file === undefined) return { build: {}, document: {} as Record<string, unknown> };
  const path = resolve(cwd, file);
  let text: string;
  try {
    if ((await stat(path)).size > maxConfigBytes) {
      throw new ConfigError(
        '--config',
        `${file} is longer than ${maxConfigBytes} bytes`,
        'Name the right file',
      );
    }
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    throw new ConfigError(
      '--config',
      `Cannot read the configuration ${file}: ${systemCode(error)}`,
      'Check the path',
      {
        cause: error,
      },
    );
  }
  const parsed = parseJsonWithComments(text);
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ConfigError(
      '(document)',
      `${file} does not hold a JSON object`,
      'Start it with { and end it with }',
    );
  }
  const { build: section = {}, ...document } = parsed as Record<string, unknown>;
  const result = v.safeParse(buildSection, section);
  if (!result.success) {
    const path = `build.${v.getDotPath(result.issues[0]) ?? ''}`;
    throw new ConfigError(
      path,
      `${path} in ${file} is not right: ${result.issues[0].message}`,
      'Mend the line',
    );
  }
  return { build: result.output, document };
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

/** The text of the seed. */
export function seedText(config: Pick<BuildConfig, 'document'>): string {
  const { domain, ...rest } = config.document;
  return `${JSON.stringify({ domain, ...rest }, undefined, 2)}\n`;
}

/** `chat.example.org-vm-x86_64`: what the files of this build are called, without ending. */
export function imageBaseName(config: Pick<BuildConfig, 'appliance' | 'target'>): string {
  // An IPv6 address has colons, which Windows allows in no file name.
  return `${plainDomain(config.appliance.domain).replaceAll(':', '-')}-${config.target.name}`;
}
