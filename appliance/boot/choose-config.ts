/** Which configuration is in force: the seed when it is valid, the last good one otherwise. Pure. */
import { createPrivateKey } from 'node:crypto';
import { ConfigError, messageOf } from '../base/errors.ts';
import { type Config, parseConfigText } from '../contract/config.ts';
import type { Problem } from '../contract/status.ts';

export type ConfigChoice =
  | {
      readonly kind: 'chosen';
      readonly config: Config;
      readonly source: 'seed' | 'last-good';
      /** What is wrong with the seed, when it was not taken. */
      readonly problem?: Problem;
    }
  | { readonly kind: 'none'; readonly problem: Problem };

const minRsaBits = 1024;

/**
 * @param seedText the seed, or undefined when there is none
 * @param lastGoodText what was written down at the last good boot, or undefined
 */
export function chooseConfig(seedText: string | undefined, lastGoodText: string | undefined): ConfigChoice {
  let problem: Problem;
  try {
    if (seedText !== undefined) return { kind: 'chosen', config: readConfig(seedText), source: 'seed' };
    problem = {
      path: 'chatmail.json',
      message: 'There is no configuration on the BOOT partition',
      fix: 'Put chatmail.json on the first partition of the disk, with at least {"domain":"chat.example.org"}',
    };
  } catch (error) {
    problem = describe(error);
  }
  try {
    if (lastGoodText !== undefined) {
      return { kind: 'chosen', config: readConfig(lastGoodText), source: 'last-good', problem };
    }
  } catch {
    // An older version's, or damaged: the seed's problem is the one a person can mend.
  }
  return { kind: 'none', problem };
}

/** @throws ConfigError */
function readConfig(text: string): Config {
  const config = parseConfigText(text);
  const { dkimKey, dkimEd25519Key } = config.secrets;
  if (dkimKey !== undefined) checkDkimKey(dkimKey);
  if (dkimEd25519Key !== undefined) checkEd25519Key(dkimEd25519Key);
  return config;
}

function checkDkimKey(pem: string): void {
  const refuse = (why: string): ConfigError =>
    new ConfigError(
      'secrets.dkimKey',
      `secrets.dkimKey ${why}`,
      'Give an RSA private key of 2048 bits as PKCS#8 PEM, or leave it out to have one made',
    );
  let bits: number | undefined;
  try {
    const key = createPrivateKey(pem);
    bits = key.asymmetricKeyType === 'rsa' ? key.asymmetricKeyDetails?.modulusLength : undefined;
  } catch {
    // OpenSSL's reasons help nobody here: "DECODER routines::unsupported".
    throw refuse('is no private key that can be read');
  }
  if (bits === undefined) throw refuse('is not an RSA key');
  if (bits < minRsaBits) throw refuse(`has ${bits} bits, fewer than ${minRsaBits}`);
}

function checkEd25519Key(pem: string): void {
  let type: string | undefined;
  try {
    type = createPrivateKey(pem).asymmetricKeyType;
  } catch {
    // Said below, in words.
  }
  if (type === 'ed25519') return;
  throw new ConfigError(
    'secrets.dkimEd25519Key',
    `secrets.dkimEd25519Key is ${type === undefined ? 'no private key that can be read' : 'not an Ed25519 key'}`,
    'Give an Ed25519 private key as PKCS#8 PEM, or leave it out',
  );
}

function describe(error: unknown): Problem {
  if (error instanceof ConfigError) return { path: error.path, message: error.message, fix: error.fix };
  return { path: '(document)', message: messageOf(error), fix: 'Mend chatmail.json and start again' };
}
