/**
 * Signatures of the archive: pinned OpenPGP keys, and the clearsigned text of an InRelease (RFC 9580 §7)
 * held against them.
 */
import type { PublicKey } from 'openpgp';
import { IntegrityError, messageOf } from '../../appliance/base/errors.ts';

export interface PinnedKey {
  /** Of the primary key, 40 or 64 lower-case hex digits. */
  readonly fingerprint: string;
  readonly armored: string;
}

/** Clocks of laptops and of the archive may differ by so much. */
export const allowedSkewMs = 600_000;

export interface SignedText {
  /** Exactly what is signed: without armour, dash escapes and trailing blanks, lines ended by LF. */
  readonly text: string;
  /** Primary fingerprints of the pinned keys whose signatures are good. */
  readonly signedBy: readonly string[];
}

/**
 * Reads pinned keys.
 * @throws IntegrityError when a key is not the one its fingerprint names
 */
export async function loadKeys(pinned: readonly PinnedKey[]): Promise<readonly PublicKey[]> {
  const { readKey } = await import('openpgp');
  const keys: PublicKey[] = [];
  for (const { fingerprint, armored } of pinned) {
    const key = await readKey({ armoredKey: armored });
    const found = key.getFingerprint();
    if (found !== fingerprint) {
      throw new IntegrityError({ subject: 'A pinned archive key', expected: fingerprint, found });
    }
    if (key.isPrivate()) throw new TypeError(`Key ${fingerprint} is a private key`);
    keys.push(key);
  }
  return keys;
}

/**
 * Verifies a clearsigned text: at least one signature by a pinned key that is valid now must be good, and
 * none by a pinned key may be bad. Signatures by other keys count for nothing.
 * @param subject names the file in errors
 * @throws IntegrityError
 */
export async function verifyClearsigned(
  armored: string,
  { keys, subject, nowMs }: { keys: readonly PublicKey[]; subject: string; nowMs: number },
): Promise<SignedText> {
  const { readCleartextMessage, verify } = await import('openpgp');
  const expected = `a signature by ${keys.map((key) => shortName(key)).join(' or ')}`;
  const refuse = (found: string, cause?: unknown): IntegrityError =>
    new IntegrityError(
      {
        subject,
        expected,
        found,
        message: `${subject} is not signed as it should be: expected ${expected}, found ${found}`,
      },
      { cause },
    );
  const now = new Date(nowMs);
  const latest = new Date(nowMs + allowedSkewMs);

  const message = await readCleartextMessage({ cleartextMessage: armored }).catch((error: unknown) => {
    throw refuse(`no signed text (${messageOf(error)})`, error);
  });
  const result = await verify({ message, verificationKeys: [...keys], date: latest });
  const signedBy: string[] = [];
  const strangers: string[] = [];
  let expired: string | undefined;
  for (const signature of result.signatures) {
    const id = signature.keyID;
    const key = keys.find((candidate) => candidate.getKeyIDs().some((own) => own.equals(id)));
    // Settled below; a rejection of a stranger's signature must not stay unhandled.
    const complaint = await signature.verified.then(
      () => undefined,
      (error: unknown) => messageOf(error),
    );
    if (key === undefined) {
      strangers.push(id.toHex());
    } else if (complaint !== undefined && /in the future/.test(complaint)) {
      throw refuse(`one from the future by this machine's clock (${now.toISOString()}); check the clock`);
    } else if (complaint !== undefined) {
      throw refuse(`a bad signature by ${shortName(key)}: ${complaint}`);
    } else if (await isValidAt(key, id, now)) {
      signedBy.push(key.getFingerprint());
    } else {
      expired = shortName(key);
    }
  }
  if (signedBy.length > 0) return { text: message.getText(), signedBy };
  if (expired !== undefined) {
    throw refuse(`one by ${expired}, which has expired; a newer chatmail-build has newer keys`);
  }
  throw refuse(strangers.length === 0 ? 'no signature' : `only unknown keys (${strangers.join(', ')})`);
}

/** openpgp checks a key at the time of the signature; a key that has expired since then is no use either. */
async function isValidAt(
  key: PublicKey,
  keyId: ReturnType<PublicKey['getKeyID']>,
  date: Date,
): Promise<boolean> {
  try {
    await key.getSigningKey(keyId, date);
    return true;
  } catch {
    return false;
  }
}

/** `Debian Stable Release Key (13/trixie) [762f67a0b2c39de4]`. */
function shortName(key: PublicKey): string {
  const owner = key.getUserIDs()[0]?.replace(/\s*<[^>]*>$/, '') ?? 'key';
  return `${owner} [${key.getKeyID().toHex()}]`;
}
