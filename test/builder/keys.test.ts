import { createPrivateKey } from 'node:crypto';
import { chmod, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ConfigError } from '../../appliance/base/errors.ts';
import { parseDomain } from '../../appliance/contract/domain.ts';
import { dkimPublicKey } from '../../appliance/dns/dkim-key.ts';
import {
  ensureDkimEd25519Key,
  ensureDkimKey,
  keyFolderPath,
  openKeyFolder,
  readKeyFile,
  readSecretFile,
  writeKeyFile,
} from '../../builder/keys.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'keys-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const mode = async (path: string) => (await stat(path)).mode & 0o777;

describe('keyFolderPath', () => {
  test('is below the configuration directory, one folder a domain', () => {
    const domain = parseDomain('chat.example.org');
    expect(keyFolderPath(domain, { XDG_CONFIG_HOME: '/c' })).toBe('/c/chatmail-build/chat.example.org');
    expect(keyFolderPath(domain, {})).toMatch(/\.config\/chatmail-build\/chat\.example\.org$/);
    expect(keyFolderPath(domain, { XDG_CONFIG_HOME: '/c' }, '/k')).toBe('/k/chat.example.org');
    expect(keyFolderPath(parseDomain('2001:db8::1'), {}, '/k')).toBe('/k/2001-db8--1');
  });
});

describe('ensureDkimKey', () => {
  test('makes a key once, for its owner only, and reads it ever after', async () => {
    const folder = await openKeyFolder(join(directory, 'new', 'chat.example.org'));
    const first = await ensureDkimKey(folder);
    expect(first.created).toBe(true);
    expect(createPrivateKey(first.pem).asymmetricKeyDetails?.modulusLength).toBe(2048);
    expect(first.pem).toContain('BEGIN PRIVATE KEY');
    expect(await mode(folder.path)).toBe(0o700);
    expect(await mode(join(folder.path, 'dkim.pem'))).toBe(0o600);
    expect(await ensureDkimKey(folder)).toEqual({ pem: first.pem, created: false });
    expect(await readdir(folder.path)).toEqual(['dkim.pem']);
  });

  test('of several at once, all get the same key', async () => {
    const folder = await openKeyFolder(join(directory, 'chat.example.org'));
    const made = await Promise.all([ensureDkimKey(folder), ensureDkimKey(folder), ensureDkimKey(folder)]);
    expect(new Set(made.map(({ pem }) => pem)).size).toBe(1);
    expect(made.filter(({ created }) => created)).toHaveLength(1);
    expect(await readdir(folder.path)).toEqual(['dkim.pem']);
  });

  test('refuses a folder or a file that others can read', async () => {
    const folder = await openKeyFolder(join(directory, 'chat.example.org'));
    await ensureDkimKey(folder);
    await chmod(join(folder.path, 'dkim.pem'), 0o640);
    await expect(ensureDkimKey(folder)).rejects.toThrow(ConfigError);
    await chmod(folder.path, 0o755);
    await expect(openKeyFolder(folder.path)).rejects.toThrow('others can read it (mode 755)');
  });

  test('there is an Ed25519 key too, when asked for', async () => {
    const folder = await openKeyFolder(join(directory, 'chat.example.org'));
    const { pem } = await ensureDkimEd25519Key(folder);
    const { algorithm, publicKeyBase64 } = dkimPublicKey(pem, 'key');
    expect(algorithm).toBe('ed25519');
    expect(Buffer.from(publicKeyBase64, 'base64')).toHaveLength(32);
  });
});

describe('key files', () => {
  test('are replaced at once, and null when missing', async () => {
    const folder = await openKeyFolder(join(directory, 'chat.example.org'));
    expect(await readKeyFile(folder, 'dns-state.json')).toBeNull();
    await writeKeyFile(folder, 'dns-state.json', 'one');
    await writeKeyFile(folder, 'dns-state.json', 'two');
    expect(await readKeyFile(folder, 'dns-state.json')).toBe('two');
    expect(await mode(join(folder.path, 'dns-state.json'))).toBe(0o600);
    expect(await readdir(folder.path)).toEqual(['dns-state.json']);
  });

  test('a link does not make an open file a secret one', async () => {
    const open = join(directory, 'open');
    await writeFile(open, 'text');
    await chmod(open, 0o644);
    await symlink(open, join(directory, 'link'));
    await expect(readSecretFile(join(directory, 'link'))).rejects.toThrow('others can read it');
  });
});

describe('dkimPublicKey', () => {
  test('refuses what is no key for DKIM, with the file and the fix', async () => {
    expect(() => dkimPublicKey('nonsense', '/k/dkim.pem')).toThrow('/k/dkim.pem is not a key for DKIM');
    const { generateKeyPairSync } = await import('node:crypto');
    const pem = (key: ReturnType<typeof createPrivateKey>) =>
      String(key.export({ type: 'pkcs8', format: 'pem' }));
    const short = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
    expect(() => dkimPublicKey(pem(short), 'k')).toThrow('only 1024 bits');
    const curve = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    expect(() => dkimPublicKey(pem(curve), 'k')).toThrow('of the kind ec');
  });
});
