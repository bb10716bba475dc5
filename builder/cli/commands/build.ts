/** `chatmail-build --domain NAME`: the build. */
import { homedir } from 'node:os';
import { relative, resolve } from 'node:path';
import process from 'node:process';
import { systemClock } from '../../../appliance/base/clock.ts';
import { isSelfSigned } from '../../../appliance/contract/domain.ts';
import { targets } from '../../../images/index.ts';
import { buildImage } from '../../build.ts';
import { type BuildConfig, readBuildConfig } from '../../config.ts';
import { defaultCacheDirectory } from '../../packages/cache-directory.ts';
import { type Command, type CommandContext, parseFlags } from '../command.ts';
import { packageDirectory } from '../package-directory.ts';
import { createProgress } from '../progress.ts';
import { shellWord } from '../shell-word.ts';

const help = `chatmail-build --domain NAME [options]

Builds a bootable image of a chatmail relay for NAME: a DNS name, or an IP address for a private network.

  --domain NAME    who the relay is: chat.example.org, 192.0.2.1, [2001:db8::1]
  --target TARGET  what it shall run on:
${targets.map(({ name, title }) => `                     ${name.padEnd(10)}  ${title}`).join('\n')}
  --out DIR        where the image goes (default: out)
  --config FILE    settings of the relay, as JSON; comments are allowed
  --mirror URL     a Debian mirror (default: the one this machine uses, or ftp.debian.org)
  --lock FILE      build from exactly the packages of an earlier image
  --offline        use only what is in the cache
  --refresh        ask the mirror for newer packages, even if it was asked an hour ago
  --json           one JSON object a line on stdout

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
        config: { type: 'string' },
        mirror: { type: 'string' },
        lock: { type: 'string' },
        offline: { type: 'boolean' },
        refresh: { type: 'boolean' },
        json: { type: 'boolean' },
      },
      { max: 0 },
    );
    const config = await readBuildConfig(values, context.cwd);
    const progress = createProgress(context, values.json === true);
    progress.note(title(config));
    const result = await buildImage(config, {
      progress,
      signal: context.signal,
      clock: systemClock,
      env: context.env,
      cacheDirectory: cacheDirectory(context),
      sourceDirectory: packageDirectory(),
    });
    progress.event('built', {
      image: result.image,
      lock: result.lockFile,
      sbom: result.sbomFile,
      rootSha256: result.root.sha256,
      downloadedBytes: result.downloadedBytes,
    });
    progress.note(nextSteps(config, shellWord(relative(context.cwd, result.image))));
    return 0;
  },
};

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

/** @param image the path as a shell takes it */
function nextSteps({ appliance, target }: BuildConfig, image: string): string {
  const dns = isSelfSigned(appliance.domain)
    ? []
    : [
        '  when it runs where it shall stay, point the name at it:',
        '                     chatmail-build dns show',
      ];
  return [
    '',
    'Next:',
    `  try it here        chatmail-build run ${image}`,
    `  use it             write ${image} to a disk and start from it`,
    `                     (${target.title})`,
    ...dns,
  ].join('\n');
}
