/**
 * Flags that set what stands in the seed, for `build` and `flash` alike: what each means in the document, and
 * where the one secret among them comes from. No secret is taken from the command line, which every user of
 * the machine can read.
 */
import { isIP } from 'node:net';
import { ConfigError } from '../appliance/base/errors.ts';
import type { CommandContext } from './cli/command.ts';
import { readInput } from './config.ts';
import { askSecret, canAsk } from './dns/ask.ts';

/** For node:util parseArgs. */
export const seedFlagOptions = {
  wifi: { type: 'string' },
  'wifi-country': { type: 'string' },
  'wifi-password-file': { type: 'string' },
  'wifi-open': { type: 'boolean' },
  address: { type: 'string', multiple: true },
  gateway: { type: 'string', multiple: true },
  'ssh-key': { type: 'string', multiple: true },
  set: { type: 'string', multiple: true },
} as const;

export const seedFlagHelp = `  --wifi SSID      the Wi-Fi network to join; a cable that is plugged in goes first
  --wifi-country CC  where it stands, as two letters: DE, US (which channels are allowed there)
  --wifi-password-file FILE  the file's first line is the password of the network (default: the environment
                   variable CHATMAIL_WIFI_PASSWORD, then a question)
  --wifi-open      the network has no password
  --address ADDRESS/LENGTH  a fixed address in place of DHCP: 192.0.2.5/24, 2001:db8::5/64; one of each kind
  --gateway ADDRESS  the router for it; one for each --address
  --ssh-key KEY    a public key that may sign in over SSH, or its file; may be given more than once
  --set PATH=VALUE  any other setting of chatmail.json: --set mail.quotaBytes=1000000000. VALUE is JSON, or
                   else text; null takes the setting away
`;

export interface SeedFlags {
  readonly wifi?: string | undefined;
  readonly 'wifi-country'?: string | undefined;
  readonly 'wifi-password-file'?: string | undefined;
  readonly 'wifi-open'?: boolean | undefined;
  readonly address?: readonly string[] | undefined;
  readonly gateway?: readonly string[] | undefined;
  readonly 'ssh-key'?: readonly string[] | undefined;
  readonly set?: readonly string[] | undefined;
}

type Document = Readonly<Record<string, unknown>>;

/** What the flags make of a document. Pure, and checked against no schema. */
export type SeedChange = (document: Document) => Record<string, unknown>;

/** A public key, as in authorized_keys, has 8 kB at the very most: RSA of 16,384 bits has 4. */
const maxKeyFileBytes = 65_536;
const maxPasswordFileBytes = 4096;

/**
 * Reads what the flags name, and asks for the Wi-Fi password where nothing else gives it.
 * @returns undefined when there is none of these flags
 * @throws ConfigError naming the flag, with its fix
 */
export async function readSeedFlags(
  flags: SeedFlags,
  context: Pick<CommandContext, 'cwd' | 'env' | 'stdin' | 'stderr' | 'signal'>,
): Promise<SeedChange | undefined> {
  const changes: SeedChange[] = [];
  // What can be refused is refused before a person is asked.
  if ((flags.address ?? flags.gateway) !== undefined) changes.push(addresses(flags));
  if (flags['ssh-key'] !== undefined) {
    const keys = await Promise.all(flags['ssh-key'].map((key) => readSshKeys(key, context.cwd)));
    changes.push((document) => addSshKeys(document, keys.flat()));
  }
  const settings = (flags.set ?? []).map(parseSetting);
  const wifi = await wifiChange(flags, context);
  if (wifi !== undefined) changes.push(wifi);
  changes.push(...settings);
  if (changes.length === 0) return undefined;
  return (document) => changes.reduce<Record<string, unknown>>((so, change) => change(so), { ...document });
}

async function wifiChange(
  flags: SeedFlags,
  context: Parameters<typeof readSeedFlags>[1],
): Promise<SeedChange | undefined> {
  const { wifi: ssid, 'wifi-open': open = false } = flags;
  const country = flags['wifi-country'] === undefined ? undefined : canonicalCountry(flags['wifi-country']);
  if (ssid === undefined) {
    const alone = (['wifi-password-file', 'wifi-open'] as const).find((flag) => flags[flag] !== undefined);
    if (alone !== undefined) {
      throw new ConfigError(`--${alone}`, `--${alone} belongs to --wifi`, 'Name the network: --wifi SSID');
    }
    return country === undefined ? undefined : (document) => put(document, 'network.wifi.country', country);
  }
  if (open && flags['wifi-password-file'] !== undefined) {
    throw new ConfigError(
      '--wifi-open',
      '--wifi-open and --wifi-password-file exclude each other',
      'Leave one of them out',
    );
  }
  const password = open ? null : await wifiPassword(ssid, flags['wifi-password-file'], context);
  return (document) => {
    const there = country ?? get(document, 'network.wifi.country');
    if (there === undefined) {
      throw new ConfigError(
        '--wifi-country',
        'It is not said in which country the Wi-Fi is used',
        'Say where: --wifi-country DE. It decides which channels may be used',
      );
    }
    const wifi = { ssid, country: there, ...(open && { security: 'open' }) };
    return put(put(document, 'network.wifi', wifi), 'secrets.wifiPassword', password);
  };
}

/** `uk` is GB to the regulatory database. */
function canonicalCountry(text: string): string {
  const refuse = () =>
    new ConfigError(
      '--wifi-country',
      `--wifi-country ${JSON.stringify(text)} is not a country`,
      'Give its two letters (ISO 3166-1): DE, US, BR',
    );
  if (!/^[A-Za-z]{2}$/.test(text)) throw refuse();
  const code = new Intl.Locale(`und-${text}`).region;
  const name = new Intl.DisplayNames(['en'], { type: 'region', fallback: 'none' }).of(text.toUpperCase());
  if (code === undefined || !/^[A-Z]{2}$/.test(code) || name === undefined) throw refuse();
  return code;
}

async function wifiPassword(
  ssid: string,
  file: string | undefined,
  context: Parameters<typeof readSeedFlags>[1],
): Promise<string> {
  if (file !== undefined) {
    const text = await readInput('--wifi-password-file', file, context.cwd, maxPasswordFileBytes);
    return text.replace(/^\uFEFF/, '').split(/\r?\n/, 1)[0] ?? '';
  }
  const { CHATMAIL_WIFI_PASSWORD: given } = context.env;
  if (given !== undefined && given !== '') return given;
  if (canAsk(context)) return askSecret(`Password of the Wi-Fi network ${ssid}: `, context);
  throw new ConfigError(
    '--wifi',
    `The password of the Wi-Fi network ${JSON.stringify(ssid)} is not given, and nobody can be asked`,
    'Write it into a file and say --wifi-password-file FILE, or say --wifi-open if the network has none',
  );
}

function addresses({ address = [], gateway = [] }: SeedFlags): SeedChange {
  const strange =
    address.find((text) => isIP(text.split('/')[0] ?? '') === 0) ?? gateway.find((text) => isIP(text) === 0);
  if (strange !== undefined) {
    throw new ConfigError(
      '--address',
      `${JSON.stringify(strange)} is not an IP address`,
      'Give addresses such as --address 192.0.2.5/24 --gateway 192.0.2.1',
    );
  }
  const families = [4, 6] as const;
  const pairs = families.flatMap((family) => {
    const own = address.filter((text) => isIP(text.split('/')[0] ?? '') === family);
    const routers = gateway.filter((text) => isIP(text) === family);
    const [first, second] = own;
    if (second !== undefined || routers.length > 1) {
      throw new ConfigError(
        '--address',
        `More than one IPv${family} ${second === undefined ? 'gateway' : 'address'} is given`,
        'Give one --address and one --gateway of each kind',
      );
    }
    const [router] = routers;
    if (first === undefined && router === undefined) return [];
    if (first === undefined || router === undefined) {
      throw new ConfigError(
        first === undefined ? '--address' : '--gateway',
        `${first === undefined ? `--gateway ${router}` : `--address ${first}`} stands alone`,
        first === undefined
          ? `Give the address too: --address ${family === 4 ? '192.0.2.5/24' : '2001:db8::5/64'}`
          : `Give the address of the router too: --gateway ${family === 4 ? '192.0.2.1' : 'fe80::1'}`,
      );
    }
    return [[`network.ipv${family}`, { address: first, gateway: router }] as const];
  });
  return (document) => pairs.reduce((so, [path, value]) => put(so, path, value), { ...document });
}

/** The line itself, or the lines of the file. */
async function readSshKeys(text: string, cwd: string): Promise<readonly string[]> {
  const isKey = (line: string) => /^(?:(?:ssh|ecdsa)-[\w-]+|sk-[\w.@-]+) [A-Za-z0-9+/]+=*(?: |$)/.test(line);
  if (isKey(text)) return [text.trim()];
  const content = await readInput('--ssh-key', text, cwd, maxKeyFileBytes);
  const refuse = (why: string, fix: string) => new ConfigError('--ssh-key', `--ssh-key ${text} ${why}`, fix);
  if (content.includes('PRIVATE KEY')) {
    throw refuse('is a private key, which stays with you', `Give the public one: --ssh-key ${text}.pub`);
  }
  const lines = content
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  if (lines.length === 0 || !lines.every(isKey)) {
    throw refuse('holds no public SSH key', 'Give a file such as ~/.ssh/id_ed25519.pub');
  }
  return lines;
}

function addSshKeys(document: Document, keys: readonly string[]): Record<string, unknown> {
  const there: unknown = get(document, 'sshKeys');
  const all = [...(Array.isArray(there) ? (there as readonly unknown[]) : []), ...keys];
  return put(document, 'sshKeys', [...new Set(all)]);
}

/** `a.b=value`; what is not JSON is text, so that shells need no quotes within quotes. */
function parseSetting(text: string): SeedChange {
  const [, path, value] = /^([A-Za-z]\w*(?:\.[A-Za-z]\w*)*)=(.*)$/s.exec(text) ?? [];
  if (path === undefined || value === undefined) {
    throw new ConfigError(
      '--set',
      `--set ${JSON.stringify(text)} is not of the form PATH=VALUE`,
      'For instance: --set mail.quotaBytes=1000000000',
    );
  }
  const [first] = path.split('.');
  if (first === 'secrets') {
    throw new ConfigError(
      '--set',
      'The command line is no place for secrets: others on this machine can read it',
      'Use --wifi-password-file, or write it into a file for --config',
    );
  }
  if (first === 'domain') {
    throw new ConfigError(
      '--set',
      'The domain is set when the image is built, together with its keys',
      'Build an image for it: chatmail-build --domain NAME',
    );
  }
  return (document) => put(document, path, parseValue(value));
}

function parseValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function isDocument(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function get(document: Document, path: string): unknown {
  return path
    .split('.')
    .reduce<unknown>((so, key) => (isDocument(so) && Object.hasOwn(so, key) ? so[key] : undefined), document);
}

/** A copy of the document with the value at the path; null takes it away. */
function put(document: Document, path: string, value: unknown): Record<string, unknown> {
  const [key = '', ...rest] = path.split('.');
  const { [key]: old, ...others } = document;
  if (rest.length === 0) return value === null ? others : { ...document, [key]: value };
  const below = isDocument(old) && Object.hasOwn(document, key) ? old : {};
  const changed = put(below, rest.join('.'), value);
  if (value === null && Object.keys(changed).length === 0) return others;
  return { ...document, [key]: changed };
}
