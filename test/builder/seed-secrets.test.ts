import { chmod, mkdir, mkdtempDisposable, readdir, writeFile } from 'node:fs/promises';
import { generateKeyPairSync } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type ConfigDocument, parseConfig, parseConfigText } from '../../appliance/contract/config.ts';
import { desec } from '../../appliance/dns/providers/desec.ts';
import { seedText } from '../../builder/config.ts';
import { makeSeedSecrets, type SeedSecretsInput } from '../../builder/seed-secrets.ts';

const anyKey = () =>
  generateKeyPairSync('rsa', { modulusLength: 2048 })
    .privateKey.export({ type: 'pkcs8', format: 'pem' })
    .toString();
const key = anyKey();

async function place() {
  const directory = await mkdtempDisposable(join(tmpdir(), 'seed-'));
  const keyFolder = join(directory.path, 'config', 'chat.example.org');
  const make = async (document: Partial<ConfigDocument> = {}, more: Partial<SeedSecretsInput> = {}) => {
    const whole = { domain: 'chat.example.org', ...document };
    const input = {
      appliance: parseConfig(whole),
      document: whole,
      keyFolder,
      ed25519: false,
      dnsOnDevice: null,
    };
    const made = await makeSeedSecrets({ ...input, ...more });
    return { ...made, seed: seedText({ document: whole }, made.additions) };
  };
  return { keyFolder, make, [Symbol.asyncDispose]: () => directory.remove() };
}

describe('makeSeedSecrets', () => {
  test('every image for a name has the same key, made once', async () => {
    await using there = await place();
    const first = await there.make();
    const second = await there.make();
    expect(first.newDkimKey).toBe(true);
    expect(second).toEqual({ ...first, newDkimKey: false });
    const config = parseConfigText(first.seed);
    expect(config.secrets.dkimKey).toContain('BEGIN PRIVATE KEY');
    expect(config.secrets.dkimEd25519Key).toBeUndefined();
    expect(config.dns.provider).toBe('');
    expect(await readdir(there.keyFolder)).toEqual(['dkim.pem']);
  });

  test('a second key is made when asked for, and stays', async () => {
    await using there = await place();
    const asked = parseConfigText((await there.make({}, { ed25519: true })).seed);
    expect(asked.secrets.dkimEd25519Key).toContain('BEGIN PRIVATE KEY');
    expect(parseConfigText((await there.make()).seed).secrets).toEqual(asked.secrets);
  });

  test('a relay at an address has no key, and no folder', async () => {
    await using there = await place();
    expect(await there.make({ domain: '192.0.2.1' })).toMatchObject({ additions: {}, newDkimKey: false });
    await expect(readdir(there.keyFolder)).rejects.toThrow('ENOENT');
  });

  test('a key of the configuration goes into an empty folder, and never against another', async () => {
    await using there = await place();
    const given = await there.make({ secrets: { dkimKey: key } });
    expect(given.newDkimKey).toBe(true);
    expect(parseConfigText((await there.make()).seed).secrets.dkimKey).toBe(key);
    // The same key, written otherwise.
    await there.make({ secrets: { dkimKey: `\n${key.replaceAll('\n', '\r\n')}` } });
    await expect(there.make({ secrets: { dkimKey: anyKey() } })).rejects.toMatchObject({
      path: 'secrets.dkimKey',
      message: expect.stringContaining(join(there.keyFolder, 'dkim.pem')),
    });
  });

  test('credentials go to the device when that is asked for, those of its provider only', async () => {
    await using there = await place();
    const credentials = { HCLOUD_TOKEN: 'not for deSEC', DESEC_TOKEN: 'the-token' };
    const without = await there.make();
    expect(without.seed).not.toContain('token');
    const { seed } = await there.make(
      { comment: 'mine' },
      { dnsOnDevice: { definition: desec, credentials } },
    );
    const config = parseConfigText(seed);
    expect(config.dns).toEqual({ provider: 'desec', updateAddresses: true });
    expect(config.secrets.dnsCredentials).toEqual({ DESEC_TOKEN: 'the-token' });
    expect(config.comment).toBe('mine');
    const still = await there.make(
      { dns: { updateAddresses: false } },
      { dnsOnDevice: { definition: desec, credentials } },
    );
    expect(parseConfigText(still.seed).dns.updateAddresses).toBe(false);
  });

  test.skipIf(process.platform === 'win32')('a folder or key that others can read is refused', async () => {
    await using there = await place();
    await mkdir(there.keyFolder, { recursive: true, mode: 0o755 });
    await expect(there.make()).rejects.toMatchObject({
      code: 'config',
      fix: `Run: chmod go= ${there.keyFolder}`,
    });
    await chmod(there.keyFolder, 0o700);
    await writeFile(join(there.keyFolder, 'dkim.pem'), key, { mode: 0o640 });
    await expect(there.make()).rejects.toMatchObject({
      code: 'config',
      message: expect.stringContaining('640'),
    });
  });
});
