import { argon2Sync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  currentCost,
  decodePasswordHash,
  encodePasswordHash,
  hashPassword,
  isOutdatedHash,
  verifyPassword,
} from '../../../appliance/accounts/password.ts';

const cheap = { memoryKib: 64, passes: 1, parallelism: 1 };

// From the Argon2 reference implementation (phc-winner-argon2, src/test.c, version 0x13, argon2id).
const referenceHash = '$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4';

describe('password hashes', () => {
  test('verify what the reference implementation made', async () => {
    expect(await verifyPassword(referenceHash, 'password')).toBe(true);
    expect(await verifyPassword(referenceHash, 'passwore')).toBe(false);
  });

  test('are salted, verify, and name their cost', async () => {
    const one = await hashPassword('correct horse', cheap);
    const other = await hashPassword('correct horse', cheap);
    expect(one).not.toBe(other);
    expect(one).toMatch(/^\$argon2id\$v=19\$m=64,t=1,p=1\$/);
    expect(await verifyPassword(one, 'correct horse')).toBe(true);
    expect(await verifyPassword(one, 'correct horsf')).toBe(false);
    expect(await verifyPassword(one, '')).toBe(false);
  });

  test('are computed as RFC 9106 says', async () => {
    const hash = decodePasswordHash(await hashPassword('secret', cheap));
    if (hash === null) throw new Error('Unreadable hash');
    const tag = argon2Sync('argon2id', {
      message: 'secret',
      nonce: hash.salt,
      parallelism: 1,
      tagLength: 32,
      memory: 64,
      passes: 1,
    });
    expect(hash.tag).toEqual(tag);
  });

  test('survive being read and written', () => {
    const hash = decodePasswordHash(referenceHash);
    expect(hash === null ? null : encodePasswordHash(hash)).toBe(referenceHash);
  });

  test('know which of them are outdated', async () => {
    expect(isOutdatedHash(referenceHash)).toBe(true);
    expect(isOutdatedHash('garbage')).toBe(true);
    const { salt, tag } = decodePasswordHash(referenceHash) ?? {
      salt: Buffer.alloc(16),
      tag: Buffer.alloc(32),
    };
    expect(isOutdatedHash(encodePasswordHash({ ...currentCost, salt, tag }))).toBe(false);
  });

  test.each([
    '',
    '$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
    '$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
    '$argon2id$v=19$m=99999999,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
    '$argon2id$v=19$m=64,t=200,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
    '$argon2id$v=19$m=64,t=1,p=0$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
    '$argon2id$v=19$m=4,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4',
    `${referenceHash}${'A'.repeat(300)}`,
  ])('match nothing when they are not ours or ask for too much: %s', async (text) => {
    expect(decodePasswordHash(text)).toBeNull();
    expect(await verifyPassword(text, 'password')).toBe(false);
  });
});
