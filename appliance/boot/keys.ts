/**
 * Keys that a device makes for itself on first boot, and secrets that came with the seed. Each is complete and
 * flushed, or not there.
 */
import { generateKeyPair } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { writeFileAtomic } from '../base/atomic-file.ts';
import type { Log } from '../base/log.ts';
import { ForeignFileError, readRegularFile } from '../base/regular-file.ts';
import { certificateSource } from '../contract/certificate.ts';
import type { Config } from '../contract/config.ts';
import { users } from '../contract/users.ts';
import { isOwnCertificate, isUsableCertificate, makeSelfSigned } from './certificate.ts';

export interface KeyPaths {
  readonly dkimKey: string;
  readonly dkimEd25519Key: string;
  readonly tlsCredentials: string;
  readonly sshHostKey: string;
  readonly dnsCredentials: string;
}

interface KeyContext {
  readonly keyPaths: KeyPaths;
  readonly nowMs: number;
  readonly log: Log;
}

const generate = promisify(generateKeyPair);
const ownerOf = (user: 'relay' | 'edge') => ({ uid: users[user].uid, gid: users[user].gid });

/** Key, certificate chain and more come to a few kilobytes. */
const maxKeyFileBytes = 1024 * 1024;

/** Services own these files: what is none is made anew, like one that is missing. */
async function readKeyFile(path: string): Promise<string | undefined> {
  try {
    return await readRegularFile(path, maxKeyFileBytes);
  } catch (error) {
    // What the disk does not give out must not be replaced.
    if (error instanceof ForeignFileError) return undefined;
    throw error;
  }
}

/** Makes what is missing, side by side: finding primes takes seconds on a small board. */
export async function ensureKeys(
  config: Config,
  keyPaths: KeyPaths,
  { nowMs, log }: { readonly nowMs: number; readonly log: Log },
): Promise<void> {
  const context = { keyPaths, nowMs, log };
  await Promise.all([
    ensureDkimKey(config, context),
    takeDkimEd25519Key(config, context),
    takeDnsCredentials(config, context),
    ensureCertificate(config, context),
    ensureSshHostKey(context),
  ]);
}

/** A key that came with the seed takes the place of the one there is. */
async function ensureDkimKey(config: Config, { keyPaths, log }: KeyContext): Promise<void> {
  const present = await readKeyFile(keyPaths.dkimKey);
  const { dkimKey } = config.secrets;
  const options = { mode: 0o600, owner: ownerOf('relay') };
  if (dkimKey !== undefined && dkimKey !== present) {
    await writeFileAtomic(keyPaths.dkimKey, dkimKey, options);
    log.info('DKIM key taken from the seed');
  } else if (present === undefined) {
    // RFC 8301 §3.2: 2048 bits; Ed25519 is still unknown to many verifiers.
    const { privateKey } = await generate('rsa', { modulusLength: 2048 });
    await writeFileAtomic(keyPaths.dkimKey, privateKey.export({ type: 'pkcs8', format: 'pem' }), options);
    log.info('DKIM key made');
  }
}

/** Never made here: a key that nobody has published would only make mail longer. */
async function takeDkimEd25519Key(config: Config, { keyPaths, log }: KeyContext): Promise<void> {
  const { dkimEd25519Key } = config.secrets;
  if (dkimEd25519Key === undefined) return;
  if (dkimEd25519Key === (await readKeyFile(keyPaths.dkimEd25519Key))) return;
  await writeFileAtomic(keyPaths.dkimEd25519Key, dkimEd25519Key, { mode: 0o600, owner: ownerOf('relay') });
  log.info('second DKIM key taken from the seed');
}

/** A seed that names no provider takes the right to change records away again. */
async function takeDnsCredentials(config: Config, { keyPaths, log }: KeyContext): Promise<void> {
  const present = await readKeyFile(keyPaths.dnsCredentials);
  if (config.dns.provider === '') {
    if (present === undefined) return;
    await rm(keyPaths.dnsCredentials, { force: true });
    log.info('credentials for DNS removed');
    return;
  }
  const { dnsCredentials } = config.secrets;
  if (dnsCredentials === undefined) return;
  const text = `${JSON.stringify(dnsCredentials)}\n`;
  if (text === present) return;
  await writeFileAtomic(keyPaths.dnsCredentials, text, { mode: 0o600, owner: ownerOf('edge') });
  log.info('credentials for DNS taken from the seed');
}

async function ensureCertificate(config: Config, { keyPaths, nowMs, log }: KeyContext): Promise<void> {
  const present = (await readKeyFile(keyPaths.tlsCredentials)) ?? '';
  // One from an authority goes when the configuration wants none any more: nobody would renew it.
  const isWanted = certificateSource(config) === 'acme' || isOwnCertificate(present);
  if (isWanted && isUsableCertificate({ keyPem: present, certificatePem: present }, config.domain, nowMs))
    return;
  const made = await makeSelfSigned(config.domain, nowMs);
  const text = made.keyPem + made.certificatePem;
  await writeFileAtomic(keyPaths.tlsCredentials, text, { mode: 0o600, owner: ownerOf('edge') });
  log.info('self-signed certificate made');
}

async function ensureSshHostKey({ keyPaths, log }: KeyContext): Promise<void> {
  if ((await readKeyFile(keyPaths.sshHostKey)) !== undefined) return;
  const { privateKey } = await generate('ed25519');
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  await writeFileAtomic(keyPaths.sshHostKey, pem, { mode: 0o600, owner: ownerOf('edge') });
  log.info('SSH host key made');
}
