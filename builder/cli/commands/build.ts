/** `chatmail-build --domain NAME`: the build. */
import { homedir } from 'node:os';
import { relative, resolve } from 'node:path';
import process from 'node:process';
import { systemClock } from '../../../appliance/base/clock.ts';
import { isPublicDomain } from '../../../appliance/contract/certificate.ts';
import { plainDomain } from '../../../appliance/contract/domain.ts';
import { providers } from '../../../appliance/dns/providers/index.ts';
import { isPublicAddress } from '../../../appliance/contract/public-address.ts';
import { targets } from '../../../images/index.ts';
import { buildImage } from '../../build.ts';
import { type BuildConfig, readBuildConfig } from '../../config.ts';
import { type BuildDns, type BuildDnsFlags, dnsOnlyFlags, prepareBuildDns } from '../../dns/build.ts';
import { checkKeyFolder, keyFolderPath, newKeyNote } from '../../keys.ts';
import { defaultCacheDirectory } from '../../packages/cache-directory.ts';
import { readSeedFlags, seedFlagHelp, seedFlagOptions } from '../../seed-flags.ts';
import { makeSeedSecrets } from '../../seed-secrets.ts';
import { type Command, type CommandContext, parseFlags } from '../command.ts';
import { CliError } from '../errors.ts';
import { packageDirectory } from '../package-directory.ts';
import { createProgress, type Progress } from '../progress.ts';
import { shellWord } from '../shell-word.ts';

const help = `chatmail-build --domain NAME [options]

Builds a bootable image of a chatmail relay for NAME: a DNS name, or an IP address for a private network.

  --domain NAME    who the relay is: chat.example.org, 192.0.2.1, [2001:db8::1]
  --target TARGET  what it shall run on:
${targets.map(({ name, title }) => `                     ${name.padEnd(10)}  ${title}`).join('\n')}
  --out DIR        where the image goes (default: out)
  --compress zst|xz  write it compressed: "flash" and "run" take it as it is. xz is for tools that know no
                   zstd, and makes a larger file
  --config FILE    settings of the relay, as JSON; comments are allowed
  --mirror URL     a Debian mirror (default: the one this machine uses, or ftp.debian.org)
  --lock FILE      build from exactly the packages of an earlier image
  --offline        use only what is in the cache
  --refresh        ask the mirror for newer packages, even if it was asked an hour ago
  --keys DIR       where your keys are (default: ~/.config/chatmail-build); the key that signs the
                   relay's mail is made there once and goes into every image for NAME
  --ed25519        make a second, Ed25519 key, and sign with both
  --json           one JSON object a line on stdout

Settings of the relay; "flash" takes them too, for one card
${seedFlagHelp}
The name, with --dns PROVIDER: when the image is there, shows which DNS records would change, asks, publishes
them and waits until they are seen
  --dns PROVIDER   ${columns(providers.map(({ name }) => name))}
  --ipv4 ADDRESS   its public address; may be given more than once. Without --ipv4 and --ipv6 those that
  --ipv6 ADDRESS   the provider has stay, and a name without any gets none
  --credentials FILE  NAME=value lines, mode 0600 (default: dns-credentials beside the keys, then the
                   environment, then a question); "dns --help" names them
  --yes            do not ask; records that we did not publish stay
  --replace        with --yes: also replace records that we did not publish
  --wait SECONDS   how long each step may take to be seen (default 180, 0: do not wait)
  --resolver ADDRESS  ask this resolver (default: the system's and three public ones)
  --dns-on-device  put the credentials into the image: the relay then keeps its addresses current by itself
                   and can prove its name by DNS. Whoever has the device has them too

The image holds your keys: it is readable by you only, and the relay moves them off BOOT when it first starts.
Exit codes: 0 done, 1 something failed or was left undone, 2 wrong usage.

Downloads are kept for the next build; CHATMAIL_BUILD_CACHE names another directory for them.
`;

export const command: Command = {
  name: 'build',
  summary: 'build an image',
  help,
  async run(args, context) {
    const { values } = parseFlags(
      args,
      {
        domain: { type: 'string' },
        target: { type: 'string' },
        out: { type: 'string' },
        compress: { type: 'string' },
        config: { type: 'string' },
        mirror: { type: 'string' },
        lock: { type: 'string' },
        offline: { type: 'boolean' },
        refresh: { type: 'boolean' },
        keys: { type: 'string' },
        ed25519: { type: 'boolean' },
        dns: { type: 'string' },
        'dns-on-device': { type: 'boolean' },
        ipv4: { type: 'string', multiple: true },
        ipv6: { type: 'string', multiple: true },
        credentials: { type: 'string' },
        yes: { type: 'boolean' },
        replace: { type: 'boolean' },
        wait: { type: 'string' },
        resolver: { type: 'string', multiple: true },
        ...seedFlagOptions,
        json: { type: 'boolean' },
      },
      { max: 0 },
    );
    const config = await readBuildConfig(values, context.cwd, await readSeedFlags(values, context));
    const progress = createProgress(context, values.json === true);
    progress.note(title(config));
    const { keyFolder, keyFlags } = await findKeys(config, values, context);
    const dns = await prepareDns(config, values, context, progress);
    let newDkimKey = false;
    const result = await buildImage(config, {
      progress,
      signal: context.signal,
      clock: systemClock,
      env: context.env,
      cacheDirectory: cacheDirectory(context),
      sourceDirectory: packageDirectory(),
      seedAdditions: async () => {
        const { appliance, document } = config;
        const ed25519 = values.ed25519 === true;
        const dnsOnDevice = dns?.onDevice ?? null;
        const made = await makeSeedSecrets({ appliance, document, keyFolder, ed25519, dnsOnDevice });
        newDkimKey = made.newDkimKey;
        return made.additions;
      },
    });
    if (newDkimKey) progress.note(newKeyNote(keyFolder));
    progress.event('built', {
      image: result.image,
      map: result.mapFile,
      lock: result.lockFile,
      sbom: result.sbomFile,
      rootSha256: result.root.sha256,
      downloadedBytes: result.downloadedBytes,
      ...(config.appliance.domain.kind === 'name' && { keys: keyFolder, newDkimKey }),
    });
    const image = shellWord(relative(context.cwd, result.image));
    if (dns === null) {
      progress.note(nextSteps(config, image, [`chatmail-build dns show ${keyFlags}`]));
      return 0;
    }
    const later = `chatmail-build dns push ${keyFlags} --provider ${values.dns}`;
    try {
      const published = await dns.publish();
      progress.note(nextSteps(config, image, published ? [] : [later]));
      return published ? 0 : 1;
    } catch (error) {
      progress.note(`The image is ready: ${image}. What is left is DNS: ${later}`);
      throw error;
    }
  },
};

/** Refuses a folder that others can read before anything is done; makes none. */
async function findKeys(
  { appliance: { domain } }: BuildConfig,
  { config, keys }: { readonly config?: string | undefined; readonly keys?: string | undefined },
  context: CommandContext,
): Promise<{ keyFolder: string; keyFlags: string }> {
  const override = keys === undefined ? undefined : resolve(context.cwd, keys);
  const keyFolder = keyFolderPath(domain, context.env, override);
  if (domain.kind === 'name') await checkKeyFolder(keyFolder);
  const flags = [`--domain ${plainDomain(domain)}`];
  if (config !== undefined) flags.push(`--config ${shellWord(config)}`);
  if (keys !== undefined) flags.push(`--keys ${shellWord(keys)}`);
  return { keyFolder, keyFlags: flags.join(' ') };
}

async function prepareDns(
  { appliance: { network } }: BuildConfig,
  values: BuildDnsFlags,
  context: CommandContext,
  progress: Progress,
): Promise<BuildDns | null> {
  if (values.dns !== undefined) {
    // A fixed public address of the relay needs not be said twice.
    const fixed = (setting: typeof network.ipv4 | typeof network.ipv6): string[] => {
      const address = typeof setting === 'object' ? (setting.address.split('/')[0] ?? '') : '';
      return isPublicAddress(address) ? [address] : [];
    };
    const isGiven = values.ipv4 !== undefined || values.ipv6 !== undefined;
    const addresses = isGiven ? {} : { ipv4: fixed(network.ipv4), ipv6: fixed(network.ipv6) };
    return prepareBuildDns(values.dns, { ...values, ...addresses }, context, progress);
  }
  const misplaced = dnsOnlyFlags.find((flag) => values[flag] !== undefined);
  if (misplaced === undefined) return null;
  throw new CliError('usage', `--${misplaced} belongs to --dns`, {
    fix: `Say --dns with one of ${providers.map(({ name }) => name).join(', ')}, or leave --${misplaced} out`,
  });
}

/** Words in lines below one another, as the second column of the help. */
function columns(words: readonly string[]): string {
  return `${words.slice(0, 6).join(', ')},\n${' '.repeat(19)}${words.slice(6).join(', ')}`;
}

/** Where downloads are kept: CHATMAIL_BUILD_CACHE, or the platform's place for caches. */
export function cacheDirectory({ env, cwd }: Pick<CommandContext, 'env' | 'cwd'>): string {
  const named = env.CHATMAIL_BUILD_CACHE;
  if (named !== undefined && named !== '') return resolve(cwd, named);
  return defaultCacheDirectory({ platform: process.platform, env, homeDirectory: homedir() });
}

function title({ appliance: { domain }, target }: BuildConfig): string {
  const both = domain.kind === 'name' && domain.unicode !== domain.name ? ` (${domain.unicode})` : '';
  return `${domain.kind === 'name' ? domain.name : domain.address}${both} for ${target.name}`;
}

/**
 * @param image the path as a shell takes it
 * @param dnsCommands what is left to be done about the name
 */
function nextSteps(
  { appliance, target }: BuildConfig,
  image: string,
  dnsCommands: readonly string[],
): string {
  const dns =
    appliance.domain.kind === 'ip' || !isPublicDomain(appliance.domain) || dnsCommands.length === 0
      ? []
      : [
          '  when it runs where it shall stay, point the name at it:',
          ...dnsCommands.map((line) => `                     ${line}`),
        ];
  // What is compressed, and what a board starts from, needs our own writer.
  const isForCard = target.loaders.raspberryPi !== undefined;
  const isForFlash = isForCard || !/\.img'?$/.test(image);
  return [
    '',
    'Next:',
    ...(isForCard ? [] : [`  try it here        chatmail-build run ${image}`]),
    isForFlash
      ? `  use it             chatmail-build flash ${image}`
      : `  use it             write ${image} to a disk and start from it`,
    `                     (${target.title})`,
    ...dns,
  ].join('\n');
}
