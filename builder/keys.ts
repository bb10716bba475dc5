/**
 * The operator's key directory: one folder a domain, mode 0700, every file 0600 (house.md section 9).
 *
 *   ~/.config/chatmail-build/chat.example.org/
 *     dkim.pem             RSA-2048, PKCS#8: made once, then only read
 *     dkim-ed25519.pem     optional second key
 *     acme-account         the ACME account's URL, once known
 *     dns-state.json       what was pushed to DNS, and what was there before
 *     dns-credentials      optional: NAME=value lines for the DNS provider
 */
import { generateKeyPair, randomBytes } from 'node:crypto';
import { type FileHandle, link, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import { ConfigError, systemCode } from '../appliance/base/errors.ts';
import { type Domain, plainDomain } from '../appliance/contract/domain.ts';
import { dkimPublicKey } from '../appliance/dns/dkim-key.ts';

const rsaBits = 2048;
/** Far above any file of ours. */
const maxKeyFileBytes = 1024 * 1024;

export const keyFileNames = {
  dkim: 'dkim.pem',
  dkimEd25519: 'dkim-ed25519.pem',
  acmeAccount: 'acme-account',
  dnsState: 'dns-state.json',
  dnsCredentials: 'dns-credentials',
} as const;

export interface KeyFolder {
  readonly path: string;
}

/**
 * Where a domain's keys are. Touches nothing.
 * @param override what `--keys` says: the directory that holds the domains' folders
 */
export function keyFolderPath(
  domain: Domain,
  env: Readonly<Record<string, string | undefined>>,
  override?: string,
): string {
  // An IPv6 address has colons, which Windows allows in no file name.
  const folder = plainDomain(domain).replaceAll(':', '-');
  if (override !== undefined) return join(override, folder);
  const configured =
    env.XDG_CONFIG_HOME ||
    (process.platform === 'win32' ? env.APPDATA : undefined) ||
    join(homedir(), '.config');
  return join(configured, 'chatmail-build', folder);
}

/**
 * Makes the folder where it is missing.
 * @throws ConfigError when others than its owner can read it
 */
export async function openKeyFolder(path: string): Promise<KeyFolder> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  await refuseOpenMode(path);
  return { path };
}

/**
 * Says early what openKeyFolder would say late, and makes nothing. A folder that is missing is fine.
 * @throws ConfigError when others than its owner can read it
 */
export async function checkKeyFolder(path: string): Promise<void> {
  try {
    await refuseOpenMode(path);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}

/** Windows has no modes; there the profile directory protects the folder. */
async function refuseOpenMode(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const { mode } = await stat(path);
  if ((mode & 0o077) !== 0) {
    throw new ConfigError(
      path,
      `${path} holds secrets, but others can read it (mode ${(mode & 0o777).toString(8)})`,
      `Run: chmod go= ${path}`,
    );
  }
}

/**
 * A file of the folder, or null when there is none.
 * @throws ConfigError when others than its owner can read it, or it is absurdly long
 */
export async function readKeyFile(folder: KeyFolder, name: string): Promise<string | null> {
  return readSecretFile(join(folder.path, name));
}

/** readKeyFile for a file anywhere. */
export async function readSecretFile(path: string): Promise<string | null> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
  try {
    await refuseOpenMode(path);
    const { size } = await file.stat();
    if (size > maxKeyFileBytes) {
      throw new ConfigError(path, `${path} is longer than ${maxKeyFileBytes} bytes`, 'Name the right file');
    }
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/** Replaces a file of the folder at once: a crash leaves the old or the new one, never half. */
export async function writeKeyFile(folder: KeyFolder, name: string, text: string): Promise<void> {
  const temporary = await writeTemporary(folder, name, text);
  await rename(temporary, join(folder.path, name));
  await syncFolder(folder);
}

/** A key, and whether it is new in the folder. */
export interface FolderKey {
  readonly pem: string;
  readonly created: boolean;
}

/**
 * The domain's DKIM key, PKCS#8 PEM. The first call makes it; of two at once, one wins and both get its key.
 * @param given what `secrets.dkimKey` of a configuration says: taken into a folder that has none
 * @throws ConfigError when the folder has another one
 */
export async function ensureDkimKey(folder: KeyFolder, given?: string): Promise<FolderKey> {
  const existing = await readDkimKey(folder, given);
  if (existing !== null && !existing.created) return existing;
  if (given !== undefined) return createOnce(folder, keyFileNames.dkim, given);
  const { privateKey } = await promisify(generateKeyPair)('rsa', {
    modulusLength: rsaBits,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  return createOnce(folder, keyFileNames.dkim, privateKey);
}

/**
 * The key that ensureDkimKey would return, where that is known already; `created` when it is not in the
 * folder yet. Writes nothing.
 * @throws ConfigError
 */
export async function readDkimKey(folder: KeyFolder, given?: string): Promise<FolderKey | null> {
  const existing = await readKeyFile(folder, keyFileNames.dkim);
  if (existing === null) return given === undefined ? null : { pem: given, created: true };
  const path = join(folder.path, keyFileNames.dkim);
  const publicKey = (pem: string, source: string) => dkimPublicKey(pem, source).publicKeyBase64;
  if (given !== undefined && publicKey(given, 'secrets.dkimKey') !== publicKey(existing, path)) {
    throw new ConfigError(
      'secrets.dkimKey',
      `secrets.dkimKey is another key than the one in ${path}`,
      'Take it out of the configuration, or move the file away: the key that is published must be the one that signs',
    );
  }
  return { pem: existing, created: false };
}

/** What is said when a DKIM key was made. */
export function newKeyNote(path: string): string {
  return `Made a DKIM key in ${path}: keep it, it is the relay's identity`;
}

/** The optional Ed25519 key: made when asked for. */
export async function ensureDkimEd25519Key(folder: KeyFolder): Promise<FolderKey> {
  const existing = await readKeyFile(folder, keyFileNames.dkimEd25519);
  if (existing !== null) return { pem: existing, created: false };
  const { privateKey } = await promisify(generateKeyPair)('ed25519', {
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  return createOnce(folder, keyFileNames.dkimEd25519, privateKey);
}

async function createOnce(folder: KeyFolder, name: string, text: string): Promise<FolderKey> {
  const temporary = await writeTemporary(folder, name, text);
  const path = join(folder.path, name);
  try {
    // A hard link fails where the name is taken, unlike a rename: a key once made is never replaced.
    await link(temporary, path);
  } catch (error) {
    if (systemCode(error) === 'EEXIST') {
      const winner = await readKeyFile(folder, name);
      if (winner !== null) return { pem: winner, created: false };
    }
    // FAT and some network disks have no hard links.
    if (systemCode(error) === 'EEXIST') throw error;
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  await syncFolder(folder);
  return { pem: text, created: true };
}

async function writeTemporary(folder: KeyFolder, name: string, text: string): Promise<string> {
  const temporary = join(folder.path, `.${name}.${randomBytes(6).toString('hex')}`);
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  return temporary;
}

/** Makes the new name itself survive a power cut. */
async function syncFolder(folder: KeyFolder): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder.path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
