import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { chooseConfig } from '../../../appliance/boot/choose-config.ts';

const good = '{"domain":"chat.example.org"}';
const older = '{"domain":"old.example.org"}';

describe('chooseConfig', () => {
  test('takes a valid seed and says nothing', () => {
    expect(chooseConfig(good, older)).toMatchObject({
      kind: 'chosen',
      source: 'seed',
      config: { domain: { kind: 'name', name: 'chat.example.org' } },
    });
    expect(chooseConfig(good, older)).not.toHaveProperty('problem');
  });

  test.each([
    ['{"domain":"chat.example.org",\n "mail":{"quotaBytes":1}}', 'mail.quotaBytes'],
    ['{"domain":"chat.example.org",\n "mial":{}}', 'mial'],
    ['{\n"domain":\n', 'line 3'],
    ['', 'line 1'],
    [undefined, 'chatmail.json'],
    [' '.repeat(256 * 1024 + 1), '(document)'],
  ])('keeps the last good one when the seed is wrong, and says where (%#)', (seed, path) => {
    const choice = chooseConfig(seed, older);
    expect(choice).toMatchObject({
      kind: 'chosen',
      source: 'last-good',
      config: { domain: { name: 'old.example.org' } },
      problem: { path },
    });
    expect(choice.problem?.fix).not.toBe('');
  });

  test('has none when there is nothing valid', () => {
    expect(chooseConfig('{', undefined)).toMatchObject({ kind: 'none', problem: { path: 'line 1' } });
    expect(chooseConfig('{', 'also bad')).toMatchObject({ kind: 'none', problem: { path: 'line 1' } });
  });

  test('refuses a DKIM key that cannot sign, before anything is taken over', () => {
    const seed = (dkimKey: string) => JSON.stringify({ domain: 'chat.example.org', secrets: { dkimKey } });
    const pem = (type: 'ed25519' | 'rsa', modulusLength = 1024) =>
      (type === 'rsa'
        ? generateKeyPairSync('rsa', { modulusLength })
        : generateKeyPairSync('ed25519')
      ).privateKey
        .export({ type: 'pkcs8', format: 'pem' })
        .toString();
    expect(chooseConfig(seed('hello'), undefined).problem?.message).toContain('no private key');
    expect(chooseConfig(seed(pem('ed25519')), undefined).problem?.message).toContain('not an RSA key');
    expect(chooseConfig(seed(pem('rsa', 512)), undefined).problem?.message).toContain('512 bits');
    expect(chooseConfig(seed(pem('rsa')), undefined)).not.toHaveProperty('problem');
  });
});
