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
  readonly tlsKey: string;
  readonly tlsCertificate: string;
  readonly sshHostKey: string;
}

const generate = promisify(generateKeyPair);

/** Makes what is missing. A DKIM key that came with the seed takes the place of the one there is. */
export async function ensureKeys(
  config: Config,
  keyPaths: KeyPaths,
  { nowMs, log }: { readonly nowMs: number; readonly log: Log },
): Promise<void> {
  const own = (user: 'relay' | 'edge') => ({ uid: users[user].uid, gid: users[user].gid });

  const dkimKey = await readTextIfPresent(keyPaths.dkimKey);
  const { dkimKey: seedKey } = config.secrets;
  if (seedKey !== undefined && seedKey !== dkimKey) {
    await writeFileAtomic(keyPaths.dkimKey, seedKey, { mode: 0o600, owner: own('relay') });
    log.info('DKIM key taken from the seed');
  } else if (dkimKey === undefined) {
    // RFC 8301 §3.2: 2048 bits; Ed25519 is still unknown to many verifiers.
    const { privateKey } = await generate('rsa', { modulusLength: 2048 });
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
    await writeFileAtomic(keyPaths.dkimKey, pem, { mode: 0o600, owner: own('relay') });
    log.info('DKIM key made');
  }

  const pair = {
    keyPem: (await readTextIfPresent(keyPaths.tlsKey)) ?? '',
    certificatePem: (await readTextIfPresent(keyPaths.tlsCertificate)) ?? '',
  };
  if (!isUsableCertificate(pair, config.domain, nowMs)) {
    const made = await makeSelfSigned(config.domain, nowMs);
    await writeFileAtomic(keyPaths.tlsKey, made.keyPem, { mode: 0o600 });
    await writeFileAtomic(keyPaths.tlsCertificate, made.certificatePem, { mode: 0o644 });
    log.info('self-signed certificate made');
  }

  if ((await readTextIfPresent(keyPaths.sshHostKey)) === undefined) {
    const { privateKey } = await generate('ed25519');
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
    await writeFileAtomic(keyPaths.sshHostKey, pem, { mode: 0o600, owner: own('edge') });
    log.info('SSH host key made');
  }
}
