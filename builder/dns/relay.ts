/** What the dns verbs are about: the relay as flags, configuration file and key folder describe it. */
import { createHash, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIPv4, isIPv6 } from 'node:net';
import { resolve } from 'node:path';
import { ConfigError, messageOf } from '../../appliance/base/errors.ts';
import { isPublicDomain } from '../../appliance/contract/certificate.ts';
import { type Domain, parseDomain } from '../../appliance/contract/domain.ts';
import type { DkimPublicKey, RelayDnsInput } from '../../appliance/contract/dns-records.ts';
import { dkimPublicKey } from '../../appliance/dns/dkim-key.ts';
import { canonicalValue } from '../../appliance/dns/rdata.ts';
import { CliError } from '../cli/errors.ts';
import { readBuildConfig } from '../config.ts';
import {
  ensureDkimEd25519Key,
  ensureDkimKey,
  type KeyFolder,
  keyFileNames,
  keyFolderPath,
  openKeyFolder,
  readDkimKey,
  readKeyFile,
} from '../keys.ts';

export interface RelayFlags {
  readonly domain?: string | undefined;
  readonly config?: string | undefined;
  readonly keys?: string | undefined;
  readonly ipv4?: readonly string[] | undefined;
  readonly ipv6?: readonly string[] | undefined;
  readonly ed25519?: boolean | undefined;
  readonly 'acme-account'?: string | undefined;
  readonly 'tls-report'?: string | undefined;
  readonly 'tls-certificate'?: string | undefined;
  readonly autoconfig?: boolean | undefined;
}

export interface RelayDescription {
  readonly domain: Domain;
  readonly folder: KeyFolder;
  /** True when the DKIM key was made just now. */
  readonly newDkimKey: boolean;
  /** The same of the second key: no relay has it yet. */
  readonly newEd25519Key: boolean;
  /** Everything but the addresses, when those are not given by flags. */
  readonly input: RelayDnsInput;
}

interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

/**
 * @param makeKey whether a DKIM key is made where there is none
 * @throws ConfigError, CliError 'usage'
 */
export async function describeRelay(
  flags: RelayFlags,
  makeKey: boolean,
  surroundings: Surroundings,
): Promise<RelayDescription> {
  const { config, domain: name } = flags;
  // The build's reader, since a build's file may hold the builder's own section beside the appliance's.
  const configured =
    config === undefined
      ? undefined
      : (await readBuildConfig({ config, domain: name }, surroundings.cwd)).appliance;
  const domain = name === undefined ? configured?.domain : parseDomain(name);
  if (domain === undefined) {
    throw new CliError('usage', 'No domain is given', { fix: 'Say which: --domain chat.example.org' });
  }
  const path = keyFolderPath(
    domain,
    surroundings.env,
    flags.keys === undefined ? undefined : resolve(surroundings.cwd, flags.keys),
  );
  const folder = makeKey && domain.kind === 'name' ? await openKeyFolder(path) : { path };
  const keys =
    domain.kind === 'name'
      ? await readDkimKeys(folder, {
          ed25519: flags.ed25519 === true,
          make: makeKey,
          given: configured?.secrets.dkimKey,
        })
      : { dkimKeys: [], created: false, secondCreated: false };
  return {
    domain,
    folder,
    newDkimKey: keys.created,
    newEd25519Key: keys.secondCreated,
    input: {
      domain,
      ipv4: addresses(flags.ipv4 ?? [], '--ipv4', domain),
      ipv6: addresses(flags.ipv6 ?? [], '--ipv6', domain),
      dkimKeys: keys.dkimKeys,
      acmeAccountUri: acmeAccount(
        flags['acme-account'] ?? (await readKeyFile(folder, keyFileNames.acmeAccount)) ?? undefined,
      ),
      tlsReportUri: tlsReport(
        flags['tls-report'] ?? mailtoOf(configured?.adminContact),
        flags['tls-report'] !== undefined,
      ),
      tlsaSpkiSha256: await spkiDigests(flags['tls-certificate'], surroundings.cwd),
      autoconfigName: flags.autoconfig === true,
    },
  };
}

async function readDkimKeys(
  folder: KeyFolder,
  how: { readonly ed25519: boolean; readonly make: boolean; readonly given: string | undefined },
) {
  const dkimKeys: DkimPublicKey[] = [];
  const rsa = how.make ? await ensureDkimKey(folder, how.given) : await readDkimKey(folder, how.given);
  if (rsa !== null) dkimKeys.push(dkimPublicKey(rsa.pem, `${folder.path}/${keyFileNames.dkim}`));
  const made = how.ed25519 && how.make ? await ensureDkimEd25519Key(folder) : null;
  const second = made?.pem ?? (await readKeyFile(folder, keyFileNames.dkimEd25519));
  if (second !== null) dkimKeys.push(dkimPublicKey(second, `${folder.path}/${keyFileNames.dkimEd25519}`));
  return {
    dkimKeys,
    created: how.make && rsa?.created === true,
    secondCreated: made?.created === true,
  };
}

function addresses(given: readonly string[], flag: '--ipv4' | '--ipv6', domain: Domain): readonly string[] {
  const [isRight, type, example] =
    flag === '--ipv4' ? ([isIPv4, 'A', '203.0.113.5'] as const) : ([isIPv6, 'AAAA', '2001:db8::5'] as const);
  return given.map((text) => {
    if (!isRight(text) || text.includes('%')) {
      throw new CliError('usage', `${flag} ${JSON.stringify(text)} is not such an address`, {
        fix: `Give one like ${flag} ${example}`,
      });
    }
    const address = canonicalValue(type, text);
    // A name that nobody vouches for may well be one of a local network.
    const reason = isPublicDomain(domain) ? privateReason(address) : null;
    if (reason !== null) {
      throw new CliError('usage', `${flag} ${address} is ${reason}, which nobody outside can reach`, {
        fix: 'Give the public address: that of the router where the relay is behind one',
      });
    }
    return address;
  });
}

/** RFC 6890, the ranges that people mistake for their public address. */
function privateReason(address: string): string | null {
  if (/^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.)/.test(address)) return 'a private address';
  if (/^100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./.test(address))
    return "an address of the provider's own network (CGNAT)";
  if (/^(127\.|0\.)/.test(address) || address === '::1' || address === '::') return 'a local address';
  if (address.startsWith('169.254.') || /^fe[89ab]/.test(address)) return 'a link-local address';
  return /^f[cd]/.test(address) ? 'a private address' : null;
}

function acmeAccount(given: string | undefined): string | undefined {
  const text = given?.trim();
  if (text === undefined || text === '') return undefined;
  // What ends a CAA parameter or a quoted string can't be part of one (RFC 8657 §3).
  if (URL.parse(text)?.protocol !== 'https:' || /[\s;"\\]/.test(text)) {
    throw new CliError('usage', `${JSON.stringify(text)} is not the address of an ACME account`, {
      fix: 'Give one like https://acme-v02.api.letsencrypt.org/acme/acct/123456',
    });
  }
  return text;
}

function mailtoOf(contact: string | undefined): string | undefined {
  return contact?.startsWith('mailto:') === true ? contact : undefined;
}

function tlsReport(uri: string | undefined, byFlag: boolean): string | undefined {
  if (uri === undefined) return undefined;
  // RFC 8460 §3: commas and semicolons would end the address.
  if (/^(mailto:[^\s@,;!]+@[^\s@,;!]+|https:\/\/[^\s,;!]+)$/.test(uri)) return uri;
  if (!byFlag) return undefined;
  throw new CliError('usage', `--tls-report ${JSON.stringify(uri)} is not an address for reports`, {
    fix: 'Give one like mailto:postmaster@example.net, outside of the relay: it takes no unencrypted mail',
  });
}

async function spkiDigests(file: string | undefined, cwd: string): Promise<readonly string[] | undefined> {
  if (file === undefined) return undefined;
  const path = resolve(cwd, file);
  try {
    const certificate = new X509Certificate(await readFile(path));
    const der = certificate.publicKey.export({ type: 'spki', format: 'der' });
    return [createHash('sha256').update(der).digest('hex')];
  } catch (error) {
    throw new ConfigError(
      '--tls-certificate',
      `${path} is not a certificate: ${messageOf(error)}`,
      'Name a PEM file',
      {
        cause: error,
      },
    );
  }
}
