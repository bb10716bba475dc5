/** Keys that a device makes for itself on first boot. Each is complete and flushed, or not there. */
import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';
import { readTextIfPresent, writeFileAtomic } from '../base/atomic-file.ts';
import type { Log } from '../base/log.ts';
import type { Config } from '../contract/config.ts';
import { users } from '../contract/users.ts';
import { isUsableCertificate, makeSelfSigned } from './certificate.ts';

export interface KeyPaths {
  readonly dkimKey: string;
  readonly tlsCredentials: string;
  readonly sshHostKey: string;
}

interface KeyContext {
  readonly keyPaths: KeyPaths;
  readonly nowMs: number;
  readonly log: Log;
}

const generate = promisify(generateKeyPair);
const ownerOf = (user: 'relay' | 'edge') => ({ uid: users[user].uid, gid: users[user].gid });

/** Makes what is missing, side by side: finding primes takes seconds on a small board. */
export async function ensureKeys(
  config: Config,
  keyPaths: KeyPaths,
  { nowMs, log }: { readonly nowMs: number; readonly log: Log },
): Promise<void> {
  const context = { keyPaths, nowMs, log };
  await Promise.all([
    ensureDkimKey(config, context),
    ensureCertificate(config, context),
    ensureSshHostKey(context),
  ]);
}

/** A key that came with the seed takes the place of the one there is. */
async function ensureDkimKey(config: Config, { keyPaths, log }: KeyContext): Promise<void> {
  const present = await readTextIfPresent(keyPaths.dkimKey);
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

async function ensureCertificate(config: Config, { keyPaths, nowMs, log }: KeyContext): Promise<void> {
  const present = (await readTextIfPresent(keyPaths.tlsCredentials)) ?? '';
  if (isUsableCertificate({ keyPem: present, certificatePem: present }, config.domain, nowMs)) return;
  const made = await makeSelfSigned(config.domain, nowMs);
  const text = made.keyPem + made.certificatePem;
  await writeFileAtomic(keyPaths.tlsCredentials, text, { mode: 0o600, owner: ownerOf('edge') });
  log.info('self-signed certificate made');
}

async function ensureSshHostKey({ keyPaths, log }: KeyContext): Promise<void> {
  if ((await readTextIfPresent(keyPaths.sshHostKey)) !== undefined) return;
  const { privateKey } = await generate('ed25519');
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  await writeFileAtomic(keyPaths.sshHostKey, pem, { mode: 0o600, owner: ownerOf('edge') });
  log.info('SSH host key made');
}
