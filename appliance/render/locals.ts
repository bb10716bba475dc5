/** What templates may use: the whole of it. */
import { pbkdf2Sync } from 'node:crypto';
import { totalmem, availableParallelism } from 'node:os';
import { privateSuffix } from '../contract/certificate.ts';
import type { Config } from '../contract/config.ts';
import { mailDomain } from '../contract/domain.ts';
import { type OutgoingLimits, outgoingLimits } from '../contract/outgoing.ts';
import { paths } from '../contract/paths.ts';
import { ports } from '../contract/ports.ts';
import { groups, users } from '../contract/users.ts';

/** What the machine is, measured once at boot. */
export interface Machine {
  readonly memoryBytes: number;
  readonly cpuCount: number;
}

export interface TemplateLocals extends Machine {
  readonly config: Config;
  /** What follows the @: `chat.example.org`, `[192.0.2.1]`. */
  readonly mailDomain: string;
  /** A name without brackets that any program takes for a host name. */
  readonly hostname: string;
  /** `lan`, `home.arpa`: what only the name servers of the operator's network know; undefined for the Internet's. */
  readonly privateSuffix: string | undefined;
  readonly ipv6: boolean;
  /** Undefined where there is none, or its password is not known. */
  readonly wifi: WifiLocals | undefined;
  /** NAME of NAME.local. */
  readonly localName: string;
  readonly outgoing: OutgoingLimits;
  readonly paths: typeof paths;
  readonly ports: typeof ports;
  readonly users: typeof users;
  readonly groups: typeof groups;
}

export interface WifiLocals {
  readonly country: string;
  /** The bytes of the name in hexadecimal: whatever is in it, it ends no line and no quotes. */
  readonly ssidHex: string;
  readonly hidden: boolean;
  /** The key of WPA2 in hexadecimal; undefined for open networks. */
  readonly pskHex: string | undefined;
  /** The bytes of the passphrase, which WPA3 wants itself; undefined where only the key is known. */
  readonly passphraseHex: string | undefined;
}

/** What was taken out of the seed and is on DATA. */
export interface RenderSecrets {
  readonly wifiPassword?: string | undefined;
}

export function measureMachine(): Machine {
  return { memoryBytes: totalmem(), cpuCount: availableParallelism() };
}

/**
 * The machine's name: its domain, or where that is an address a name that nobody looks up
 * (RFC 6762 appendix G would rather not have `.local` used for it).
 */
export function hostnameOf({ domain }: Config): string {
  return domain.kind === 'name' ? domain.name : 'chatmail.internal';
}

/** NAME of NAME.local: `chat` of chat.example.org, or what the configuration says. */
export function localNameOf({ domain, network }: Pick<Config, 'domain' | 'network'>): string {
  if (network.mdnsName !== undefined) return network.mdnsName.toLowerCase();
  const first = domain.kind === 'name' ? (domain.name.split('.')[0] ?? '') : '';
  return first.replace(/^_/, '') || 'chatmail';
}

/** IEEE 802.11-2020 annex J.4.1: PBKDF2 with HMAC-SHA-1, 4096 rounds, the name as the salt. */
function wpaKeyHex(ssid: string, passphrase: string): string {
  return pbkdf2Sync(passphrase, ssid, 4096, 32, 'sha1').toString('hex');
}

function wifiLocals({ network: { wifi } }: Config, password: string | undefined): WifiLocals | undefined {
  if (wifi === undefined || (wifi.security === 'wpa' && password === undefined)) return undefined;
  const secret = wifi.security === 'open' ? undefined : password;
  const isKey = secret === undefined || secret.length === 64;
  return {
    country: wifi.country,
    ssidHex: Buffer.from(wifi.ssid).toString('hex'),
    hidden: wifi.hidden,
    // Nothing in quotes: wpa_supplicant takes # for a comment after the second quote of a line.
    pskHex: isKey ? secret : wpaKeyHex(wifi.ssid, secret),
    passphraseHex: isKey ? undefined : Buffer.from(secret).toString('hex'),
  };
}

export function templateLocals(
  config: Config,
  machine: Machine,
  { wifiPassword }: RenderSecrets = {},
): TemplateLocals {
  return {
    ...machine,
    config,
    mailDomain: mailDomain(config.domain),
    hostname: hostnameOf(config),
    privateSuffix: privateSuffix(config.domain),
    ipv6: config.network.ipv6 !== 'off',
    wifi: wifiLocals(config, wifiPassword),
    localName: localNameOf(config),
    outgoing: outgoingLimits(machine.memoryBytes),
    paths,
    ports,
    users,
    groups,
  };
}
