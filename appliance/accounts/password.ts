/**
 * Password hashes: Argon2id (RFC 9106) in PHC string format, computed on libuv's threads, never on the
 * event loop.
 *
 * Parameters: OWASP's cheat sheet counts m=7 MiB, t=5, p=1 as strong as m=19 MiB, t=2. The small-memory
 * one is also the faster one where memory is slow, and two at a time cost a 512 MB board 14 MiB.
 */
import { argon2 as argon2Callback, type Argon2Parameters, randomBytes, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const argon2 = promisify(argon2Callback);

export interface Argon2Cost {
  readonly memoryKib: number;
  readonly passes: number;
  readonly parallelism: number;
}

/** What new hashes cost. Older hashes name their own parameters and keep working. */
export const currentCost: Argon2Cost = { memoryKib: 7168, passes: 5, parallelism: 1 };

const saltBytes = 16;
const tagBytes = 32;

/** A hash from a restored backup must not be able to take the machine's memory or minutes. */
const maxMemoryKib = 65_536;
const maxPasses = 16;
const maxParallelism = 4;
const maxHashLength = 256;

const phcPattern =
  /^\$argon2id\$v=19\$m=(\d{1,8}),t=(\d{1,3}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/;

export interface PasswordHash extends Argon2Cost {
  readonly salt: Buffer;
  readonly tag: Buffer;
}

/** Reads a PHC string; null when it is none of ours, or asks for more than the bounds above. */
export function decodePasswordHash(text: string): PasswordHash | null {
  if (text.length > maxHashLength) return null;
  const match = phcPattern.exec(text);
  if (match === null) return null;
  const [memoryKib = 0, passes = 0, parallelism = 0] = match.slice(1, 4).map(Number);
  if (parallelism < 1 || parallelism > maxParallelism || passes < 1 || passes > maxPasses) return null;
  if (memoryKib < 8 * parallelism || memoryKib > maxMemoryKib) return null;
  const salt = Buffer.from(match[4] ?? '', 'base64');
  const tag = Buffer.from(match[5] ?? '', 'base64');
  return { memoryKib, passes, parallelism, salt, tag };
}

export function encodePasswordHash(hash: PasswordHash): string {
  const base64 = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '');
  const cost = `m=${hash.memoryKib},t=${hash.passes},p=${hash.parallelism}`;
  return `$argon2id$v=19$${cost}$${base64(hash.salt)}$${base64(hash.tag)}`;
}

/** True when `text` was made at less or other cost than new hashes are. */
export function isOutdatedHash(text: string): boolean {
  const hash = decodePasswordHash(text);
  return (
    hash === null ||
    hash.memoryKib !== currentCost.memoryKib ||
    hash.passes !== currentCost.passes ||
    hash.parallelism !== currentCost.parallelism
  );
}

async function computeTag(password: string, cost: Argon2Cost, salt: Buffer, length: number): Promise<Buffer> {
  const parameters: Argon2Parameters = {
    message: Buffer.from(password),
    nonce: salt,
    memory: cost.memoryKib,
    passes: cost.passes,
    parallelism: cost.parallelism,
    tagLength: length,
  };
  return argon2('argon2id', parameters);
}

/** A new hash of `password` with a random salt. */
export async function hashPassword(password: string, cost: Argon2Cost = currentCost): Promise<string> {
  const salt = randomBytes(saltBytes);
  return encodePasswordHash({ ...cost, salt, tag: await computeTag(password, cost, salt, tagBytes) });
}

/** True when `password` is the one `text` was made of. A hash that cannot be read matches nothing. */
export async function verifyPassword(text: string, password: string): Promise<boolean> {
  const hash = decodePasswordHash(text);
  if (hash === null) return false;
  return timingSafeEqual(await computeTag(password, hash, hash.salt, hash.tag.length), hash.tag);
}
