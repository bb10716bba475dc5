/**
 * Which DNS provider, and its credentials: from the environment, from a 0600 file of NAME=value lines, or
 * asked for on the terminal. Never from the command line, where every other user could read them.
 */
import { resolve } from 'node:path';
import { ConfigError } from '../../appliance/base/errors.ts';
import { providerOfNameServers, providers } from '../../appliance/dns/providers/index.ts';
import type { Credential, ProviderDefinition } from '../../appliance/dns/provider.ts';
import type { CommandContext } from '../cli/command.ts';
import { CliError } from '../cli/errors.ts';
import { type KeyFolder, keyFileNames, readKeyFile, readSecretFile } from '../keys.ts';
import { askLine, askSecret, canAsk } from './ask.ts';

export type Credentials = Readonly<Record<string, string>>;

/**
 * What is known without asking: the file's lines over the environment.
 * @param file what `--credentials` says; without it `dns-credentials` in the key folder is read if there
 */
export async function knownCredentials(
  file: string | undefined,
  folder: KeyFolder,
  context: Pick<CommandContext, 'env' | 'cwd'>,
): Promise<Credentials> {
  const fromEnvironment: Record<string, string> = {};
  for (const { credentials } of providers) {
    for (const { variable } of credentials) {
      const value = context.env[variable]?.trim();
      if (value !== undefined && value !== '') fromEnvironment[variable] = value;
    }
  }
  const path =
    file === undefined ? `${folder.path}/${keyFileNames.dnsCredentials}` : resolve(context.cwd, file);
  const text =
    file === undefined ? await readKeyFile(folder, keyFileNames.dnsCredentials) : await readSecretFile(path);
  if (text === null && file !== undefined) {
    throw new ConfigError('--credentials', `There is no file ${path}`, 'Check the path');
  }
  return { ...fromEnvironment, ...parseCredentials(text ?? '', path) };
}

/**
 * `NAME=value` lines, `#` comments, an optional `export ` and quotes, as people keep them for shells.
 * @throws ConfigError with the line's number, never its text
 */
function parseCredentials(text: string, path: string): Credentials {
  const known = new Set(providers.flatMap(({ credentials }) => credentials.map(({ variable }) => variable)));
  const values: Record<string, string> = {};
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const match = /^\s*(?:export\s+)?([A-Z][A-Z0-9_]*)\s*=\s*(?:"([^"]*)"|'([^']*)'|(.*?))\s*$/.exec(line);
    const name = match?.[1];
    if (name === undefined || !known.has(name)) {
      throw new ConfigError(
        path,
        `Line ${index + 1} of ${path} is not NAME=value with the name of a known credential`,
        `Known are: ${[...known].join(', ')}`,
      );
    }
    values[name] = match?.[2] ?? match?.[3] ?? match?.[4] ?? '';
  }
  return values;
}

function isComplete(definition: ProviderDefinition, credentials: Credentials): boolean {
  return definition.credentials.every(
    ({ variable, optional }) => optional === true || credentials[variable] !== undefined,
  );
}

/**
 * The provider to use: the one named, the one whose credentials are there, or the one that serves the domain.
 * @param nameServers of the domain's zone, as far as known
 * @throws CliError 'usage' when none or several fit
 */
export function chooseProvider(
  name: string | undefined,
  credentials: Credentials,
  nameServers: readonly string[],
): ProviderDefinition {
  if (name !== undefined) {
    const named = providers.find((definition) => definition.name === name.toLowerCase());
    if (named !== undefined) return named;
    throw new CliError('usage', `There is no DNS provider ${JSON.stringify(name)}`, {
      fix: `Known are: ${providers.map((definition) => definition.name).join(', ')}`,
    });
  }
  const ready = providers.filter((definition) => isComplete(definition, credentials));
  const serving = providerOfNameServers(nameServers);
  const [only] = ready;
  if (serving !== undefined && (ready.length === 0 || ready.includes(serving))) return serving;
  if (ready.length === 1 && only !== undefined) return only;
  const list = (ready.length > 1 ? ready : providers).map((definition) => definition.name).join(', ');
  const served = nameServers.length === 0 ? '' : ` (the domain is served by ${nameServers.join(', ')})`;
  const message =
    ready.length > 1
      ? `There are credentials for several DNS providers${served}`
      : `It is not clear which DNS provider to use${served}`;
  throw new CliError('usage', message, { fix: `Say which: --provider with one of ${list}` });
}

/**
 * The credentials of one provider, whole.
 * @throws CliError 'usage' naming what is missing, where nobody can be asked
 */
export async function completeCredentials(
  definition: ProviderDefinition,
  known: Credentials,
  context: CommandContext,
): Promise<Credentials> {
  const missing = definition.credentials.filter(
    ({ variable, optional }) => optional !== true && known[variable] === undefined,
  );
  if (missing.length === 0) return known;
  if (!canAsk(context)) {
    throw new CliError(
      'usage',
      `${definition.title} needs ${missing.map(({ variable }) => variable).join(', ')}`,
      {
        fix: `Set it in the environment, or in a file given with --credentials. ${definition.instructions}`,
      },
    );
  }
  context.stderr.write(`${definition.title}: ${definition.instructions}\n`);
  const typed: Record<string, string> = {};
  for (const credential of missing) typed[credential.variable] = await ask(credential, context);
  return { ...known, ...typed };
}

async function ask(credential: Credential, context: CommandContext): Promise<string> {
  const prompt = `${credential.title}: `;
  const answer = credential.secret ? await askSecret(prompt, context) : await askLine(prompt, context);
  const value = answer.trim();
  if (value === '') throw new CliError('usage', `${credential.title} was left empty`);
  return value;
}
