/**
 * The one configuration schema (house.md section 9): the builder writes it as the seed on BOOT, the
 * appliance validates it at boot and renders every service from it. Unknown keys are errors. Every key
 * but `domain` has a default, so the smallest seed is `{"domain":"chat.example.org"}`.
 */
import { isIP } from 'node:net';
import * as v from 'valibot';
import { ConfigError } from '../base/errors.ts';
import { type Domain, parseDomain } from './domain.ts';

const mebibyte = 1024 * 1024;

/** Larger than any seed that makes sense; read no more than this of a file or upload. */
export const maxConfigBytes = 256 * 1024;

const integer = (min: number, max: number) =>
  v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max));
const shortText = v.pipe(v.string(), v.maxLength(500), v.regex(/^\P{Cc}*$/u, 'holds a control character'));

const staticAddress = (family: 4 | 6) => {
  const isOfFamily = (text: string) => isIP(text) === family;
  return v.strictObject({
    /** With its prefix length: 192.0.2.5/24, 2001:db8::5/64. */
    address: v.pipe(
      v.string(),
      v.check(
        (text) => {
          const [, address = '', length = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
          return isOfFamily(address) && Number(length) <= (family === 4 ? 32 : 128);
        },
        `is not an IPv${family} address with a prefix length, such as ${family === 4 ? '192.0.2.5/24' : '2001:db8::5/64'}`,
      ),
    ),
    gateway: v.pipe(v.string(), v.check(isOfFamily, `is not an IPv${family} address`)),
  });
};

/** IEEE 802.11-2020 §9.4.2.2: the name of a network has 32 bytes at most. */
const maxSsidBytes = 32;

const wifiSchema = v.strictObject({
  /** The name of the network. */
  ssid: v.pipe(
    v.string(),
    v.check((text) => {
      const { length } = Buffer.from(text);
      return length > 0 && length <= maxSsidBytes && !text.includes('\0') && text.isWellFormed();
    }, `is not the name of a Wi-Fi network: it has 1 to ${maxSsidBytes} bytes`),
  ),
  /** Where the device is (ISO 3166-1 alpha-2): which channels it may use, and how loud. */
  country: v.pipe(v.string(), v.regex(/^[A-Z]{2}$/, 'is not a country in two capital letters, such as DE')),
  /** `wpa`: WPA2 or WPA3, with secrets.wifiPassword. `open`: no password, and everybody listens. */
  security: v.optional(v.picklist(['wpa', 'open']), 'wpa'),
  /** The network does not say its name, and has to be asked for. */
  hidden: v.optional(v.boolean(), false),
});

/** IEEE 802.11-2020 annex J.4: a passphrase; or the key that is made of it, in hexadecimal. */
const wifiPassword = v.pipe(
  v.string(),
  v.regex(
    /^(?:[ -~]{8,63}|[0-9A-Fa-f]{64})$/,
    'is not a Wi-Fi password: it has 8 to 63 letters, digits and signs of ASCII, or 64 hexadecimal digits',
  ),
);

const networkSchema = v.strictObject({
  ipv4: v.optional(v.union([v.picklist(['dhcp', 'off']), staticAddress(4)]), 'dhcp'),
  ipv6: v.optional(v.union([v.picklist(['auto', 'off']), staticAddress(6)]), 'auto'),
  /** Used beside the cable, where the machine can; a cable that is plugged in goes first. */
  wifi: v.optional(wifiSchema),
  /**
   * The interface that has the addresses above: eth1, wlan0. Without: the one with a cable plugged in, or
   * Wi-Fi.
   */
  interface: v.optional(v.pipe(v.string(), v.regex(/^[\w.-]{1,15}$/, 'is not the name of an interface'))),
  /** Whether the local network may find the device as NAME.local; `auto`: where its address is a private one. */
  mdns: v.optional(v.picklist(['auto', 'on', 'off']), 'auto'),
  /** NAME. Without: the first label of the domain. */
  mdnsName: v.optional(
    v.pipe(
      v.string(),
      v.regex(
        /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/,
        'is not a name of letters, digits and dashes',
      ),
    ),
  ),
  /** Resolvers to forward to; empty means the local unbound asks the root servers itself. */
  forwarders: v.optional(v.array(v.pipe(v.string(), v.ip('is not an IP address'))), []),
  ntpServers: v.optional(v.array(v.pipe(v.string(), v.regex(/^[A-Za-z0-9.:-]{1,253}$/))), [
    '0.debian.pool.ntp.org',
    '1.debian.pool.ntp.org',
    '2.debian.pool.ntp.org',
  ]),
});

/** Dates there are: `new Date` takes the 31st of February for the 3rd of March. */
function isDate(text: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) return false;
  const date = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text);
}

const inviteToken = v.strictObject({
  /** Goes into a link as it is. */
  token: v.pipe(
    v.string(),
    v.regex(/^[A-Za-z0-9_-]{12,64}$/, 'is not 12 to 64 letters, digits, dashes or underscores'),
  ),
  /** How many accounts may be made with it. */
  uses: v.optional(integer(1, 1_000_000), 1),
  /** The last day (UTC) on which it counts: 2027-12-31. */
  expires: v.optional(v.pipe(v.string(), v.check(isDate, 'is not a date such as 2027-12-31'))),
});

/** Numbers follow chatmail/relay (facts/chatmail.md). */
const accountsSchema = v.strictObject({
  /**
   * Who gets an account. `open`: whoever signs in first to a free address; `token`: who has an invite
   * token; `closed`: nobody new.
   */
  create: v.optional(v.picklist(['open', 'token', 'closed']), 'open'),
  /** For `token`. */
  tokens: v.optional(v.pipe(v.array(inviteToken), v.maxLength(1000, 'holds more than 1000 tokens')), []),
  localpartMin: v.optional(integer(1, 64), 9),
  localpartMax: v.optional(integer(1, 64), 9),
  passwordMin: v.optional(integer(1, 128), 9),
  /** Accounts nobody signed in to for so long are deleted. */
  deleteInactiveDays: v.optional(integer(1, 3650), 90),
});

const mailSchema = v.strictObject({
  maxMessageBytes: v.optional(integer(64 * 1024, 512 * mebibyte), 31_457_280),
  quotaBytes: v.optional(integer(mebibyte, 1024 * 1024 * mebibyte), 500 * mebibyte),
  messagesPerMinute: v.optional(integer(1, 10_000), 60),
  messageBurst: v.optional(integer(1, 10_000), 10),
  maxRecipients: v.optional(integer(1, 10_000), 1000),
  deleteAfterDays: v.optional(integer(1, 3650), 20),
  deleteLargeAfterDays: v.optional(integer(1, 3650), 7),
});

const tlsSchema = v.strictObject({
  /**
   * `acme`: an authority vouches for the domain. `auto`: so too, where strangers can reach the domain; a
   * private address, a name with a leading underscore or of a private network signs for itself.
   */
  certificate: v.optional(v.picklist(['auto', 'acme', 'self-signed']), 'auto'),
  /** The authority's ACME directory (RFC 8555 §7.1.1). */
  directory: v.optional(
    v.pipe(v.string(), v.url('is not a URL'), v.startsWith('https://', 'does not begin with https://')),
    'https://acme-v02.api.letsencrypt.org/directory',
  ),
  /** Empty: the authority's default for names, `shortlived` for addresses. */
  profile: v.optional(v.pipe(v.string(), v.regex(/^[\w.-]{0,64}$/, 'is not the name of a profile')), ''),
  challenge: v.optional(v.picklist(['auto', 'http-01', 'tls-alpn-01', 'dns-01']), 'auto'),
  /** Where the authority may write to; it asks for none. */
  contact: v.optional(v.union([v.literal(''), v.pipe(v.string(), v.email('is not a mail address'))]), ''),
  /** Certificates (PEM) of authorities that are believed besides the public ones: those of a private network. */
  authorities: v.optional(
    v.array(v.pipe(v.string(), v.maxLength(16_384), v.includes('-----BEGIN CERTIFICATE-----'))),
    [],
  ),
});

/** Names of the DNS providers in appliance/dns/providers, as `--provider` takes them. */
export const dnsProviderNames = [
  'cloudflare',
  'desec',
  'digitalocean',
  'gandi',
  'hetzner',
  'ovh',
  'porkbun',
  'powerdns',
  'rfc2136',
  'route53',
] as const;

export type DnsProviderName = (typeof dnsProviderNames)[number];

const dnsSchema = v.strictObject({
  /**
   * Where the device itself may change records, with `secrets.dnsCredentials`: to prove its domain by
   * dns-01 and to keep its addresses current. Empty: nowhere, and credentials it has are removed.
   */
  provider: v.optional(v.picklist(['', ...dnsProviderNames]), ''),
  /** Publishes the device's public addresses when they change. */
  updateAddresses: v.optional(v.boolean(), false),
});

const configSchema = v.strictObject({
  domain: v.string(),
  /** Shown to users by their clients (IMAP METADATA /shared/comment). */
  comment: v.optional(shortText, ''),
  /** A URI such as mailto:admin@example.org (/shared/admin). */
  adminContact: v.optional(shortText, ''),
  network: v.optional(networkSchema, {}),
  accounts: v.optional(accountsSchema, {}),
  mail: v.optional(mailSchema, {}),
  tls: v.optional(tlsSchema, {}),
  dns: v.optional(dnsSchema, {}),
  /** Keys that may sign in over SSH, as in authorized_keys. */
  sshKeys: v.optional(v.array(shortText), []),
  /** Moved to DATA on first boot and taken out of the seed. */
  secrets: v.optional(
    v.strictObject({
      /** PKCS#8 PEM, RSA. Without one the appliance makes its own on first boot. */
      dkimKey: v.optional(v.pipe(v.string(), v.maxLength(16_384))),
      /** Of network.wifi. Without one the device goes on with the one it was given before. */
      wifiPassword: v.optional(wifiPassword),
      /** PKCS#8 PEM, Ed25519: mail is signed with it too (RFC 8463). */
      dkimEd25519Key: v.optional(v.pipe(v.string(), v.maxLength(16_384))),
      /** What `dns.provider` wants to see, by the names of its environment variables. */
      dnsCredentials: v.optional(
        v.pipe(
          v.record(
            v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9_]{0,63}$/, 'is not the name of a credential')),
            v.pipe(v.string(), v.maxLength(4096)),
          ),
          v.maxEntries(16),
        ),
      ),
    }),
    {},
  ),
});

/** The document as it stands in a file. */
export type ConfigDocument = v.InferInput<typeof configSchema>;
/** The document with every default filled in and the domain parsed. */
export type Config = Readonly<Omit<v.InferOutput<typeof configSchema>, 'domain'>> & {
  readonly domain: Domain;
};

/** An entry of `accounts.tokens`. */
export type InviteToken = v.InferOutput<typeof inviteToken>;

/**
 * Validates a configuration.
 * @throws ConfigError with the dotted path of the first thing that is wrong
 */
export function parseConfig(document: unknown): Config {
  const result = v.safeParse(configSchema, document);
  if (!result.success) {
    const issue = result.issues[0];
    const path = shownPath(v.getDotPath(issue) ?? '(document)');
    throw new ConfigError(path, `${path} ${describeIssue(issue)}`, 'Mend the line and try again');
  }
  const config = { ...result.output, domain: parseDomain(result.output.domain) };
  if (config.accounts.localpartMax < config.accounts.localpartMin) {
    throw new ConfigError(
      'accounts.localpartMax',
      `accounts.localpartMax (${config.accounts.localpartMax}) is below accounts.localpartMin (${config.accounts.localpartMin})`,
      'Raise localpartMax, or lower localpartMin',
    );
  }
  checkWifiPassword(config);
  const tokens = config.accounts.tokens.map(({ token }) => token);
  const twice = tokens.findIndex((token, index) => tokens.indexOf(token) !== index);
  if (twice >= 0) {
    throw new ConfigError(
      `accounts.tokens.${twice}.token`,
      `accounts.tokens.${twice}.token is there twice`,
      'Take one of them out, and give the other as many uses as both had',
    );
  }
  return config;
}

function checkWifiPassword({ network: { wifi }, secrets }: Pick<Config, 'network' | 'secrets'>): void {
  if (secrets.wifiPassword === undefined || wifi?.security === 'wpa') return;
  const path = 'secrets.wifiPassword';
  throw new ConfigError(
    path,
    wifi === undefined
      ? `${path} is given, but network.wifi is not`
      : `${path} is given, but network.wifi.security is "open"`,
    wifi === undefined
      ? 'Add "wifi": { "ssid": "…", "country": "…" } to "network", or leave the password out'
      : 'Leave out one of them: without "security" the network has a password',
  );
}

/** Of the credentials not even the names are shown: people confuse the two sides of the colon. */
function shownPath(path: string): string {
  return path.startsWith('secrets.dnsCredentials.') ? 'secrets.dnsCredentials' : path;
}

function describeIssue(issue: v.BaseIssue<unknown>): string {
  if (issue.type === 'strict_object' && issue.expected === 'never') return 'is not a known setting';
  // The complaint goes to the console and into logs, and would quote the value.
  if (v.getDotPath(issue)?.startsWith('secrets') === true && issue.kind === 'schema') {
    return `should be ${issue.expected ?? 'something else'}`;
  }
  if (issue.kind === 'validation' && !issue.message.startsWith('Invalid')) return issue.message;
  if (issue.expected !== null) return `should be ${issue.expected}, but is ${issue.received}`;
  return issue.message;
}

/**
 * Validates the text of a configuration file: JSON, with `//` and block comments, trailing commas, a
 * byte-order mark and CRLF allowed, since people edit it on any laptop.
 * @throws ConfigError, with the line for a syntax error
 */
export function parseConfigText(text: string): Config {
  return parseConfig(parseJsonWithComments(text));
}

/**
 * JSON as people write it: see parseConfigText.
 * @throws ConfigError with the line
 */
export function parseJsonWithComments(text: string): unknown {
  if (text.length > maxConfigBytes) {
    throw new ConfigError(
      '(document)',
      `The configuration is longer than ${maxConfigBytes} bytes`,
      'Shorten it',
    );
  }
  // Comments become spaces, so that positions in the parser's complaint stay those of the file.
  const blank = (match: string) => match.replace(/[^\n]/g, ' ');
  const plain = text
    .replace(/^\uFEFF/, '')
    .replace(
      /("(?:\\.|[^"\\\n])*")|(\/\/[^\n]*|\/\*[^]*?\*\/)/g,
      (_, string?: string, comment?: string) => string ?? blank(comment ?? ''),
    )
    .replace(/("(?:\\.|[^"\\\n])*")|,(?=\s*[}\]])/g, (_, string?: string) => string ?? ' ');
  try {
    return JSON.parse(plain);
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    // V8 quotes what surrounds the mistake, which may be a key or a token.
    const reason = said.replace(/, (?:\.\.\.)?"[^]*" is not valid JSON$/, '');
    const position = Number(/position (\d+)/.exec(reason)?.[1] ?? plain.length);
    const line = plain.slice(0, position).split('\n').length;
    throw new ConfigError(
      `line ${line}`,
      `Line ${line} is not valid JSON: ${reason}`,
      'Mend the line and try again',
      {
        cause: error,
      },
    );
  }
}

/** The network of a document that says nothing about it. */
export const defaultNetwork: Config['network'] = v.parse(networkSchema, {});

/** The document that parses to `config` again, for writing a seed. Secrets included. */
export function toDocument(config: Config): ConfigDocument {
  const { domain, ...rest } = config;
  return { ...rest, domain: domain.kind === 'name' ? domain.name : domain.address };
}
