import { execFileSync } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { lstat, mkdtempDisposable, readFile, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { silentLog } from '../../../appliance/base/log.ts';
import { ensureKeys } from '../../../appliance/boot/keys.ts';
import { loadConfig, putInForce, scrubSeedFile } from '../../../appliance/boot/load-config.ts';
import { writeFile } from 'node:fs/promises';
import { parseConfig } from '../../../appliance/contract/config.ts';

// Files are given to fixed users, which only root may do.
const isRoot = process.getuid?.() === 0;
const options = { nowMs: Date.UTC(2026, 5, 1), log: silentLog };

async function place() {
  const directory = await mkdtempDisposable(join(tmpdir(), 'keys-'));
  const path = (name: string) => join(directory.path, name);
  return {
    directory,
    paths: {
      dkimKey: path('dkim.pem'),
      tlsCredentials: path('tls.pem'),
      sshHostKey: path('ssh.pem'),
      dkimEd25519Key: path('dkim-ed25519.pem'),
      dnsCredentials: path('dns-credentials.json'),
      boot: directory.path,
      seed: path('chatmail.json'),
      lastGoodConfig: path('last-good.json'),
      config: path('config.json'),
      edgeConfig: path('edge-config.json'),
    },
    [Symbol.asyncDispose]: () => directory.remove(),
  };
}

describe.skipIf(!isRoot)('ensureKeys', () => {
  test('makes each key once, closed to others', async () => {
    await using there = await place();
    const { paths } = there;
    const config = parseConfig({ domain: 'chat.example.org' });
    await ensureKeys(config, paths, options);
    const read = () =>
      Promise.all(
        [paths.dkimKey, paths.tlsCredentials, paths.sshHostKey].map((path) => readFile(path, 'utf8')),
      );
    const first = await read();
    expect(createPrivateKey(first[0] ?? '').asymmetricKeyDetails?.modulusLength).toBe(2048);
    expect(createPrivateKey(first[2] ?? '').asymmetricKeyType).toBe('ed25519');
    for (const path of [paths.dkimKey, paths.tlsCredentials, paths.sshHostKey]) {
      expect((await stat(path)).mode & 0o777).toBe(0o600);
    }
    await ensureKeys(config, paths, options);
    expect(await read()).toEqual(first);
  });

  test('is held up by nothing that a service has put in the place of its files', async () => {
    await using there = await place();
    const { paths } = there;
    for (const path of [paths.tlsCredentials, paths.sshHostKey, paths.dkimKey]) {
      execFileSync('mkfifo', [path]);
    }
    await writeFile(paths.seed, 'secret');
    await symlink(paths.seed, paths.dnsCredentials);
    const config = parseConfig({
      domain: 'chat.example.org',
      dns: { provider: 'hetzner' },
      secrets: { dnsCredentials: { HETZNER_API_TOKEN: 'x' } },
    });
    await ensureKeys(config, paths, options);
    for (const path of [paths.tlsCredentials, paths.sshHostKey, paths.dkimKey, paths.dnsCredentials]) {
      expect((await lstat(path)).isFile()).toBe(true);
    }
    expect(await readFile(paths.seed, 'utf8')).toBe('secret');
  });

  test('makes another certificate, and no other DKIM key, for another domain', async () => {
    await using there = await place();
    const { paths } = there;
    await ensureKeys(parseConfig({ domain: 'chat.example.org' }), paths, options);
    const dkimKey = await readFile(paths.dkimKey, 'utf8');
    const certificate = await readFile(paths.tlsCredentials, 'utf8');
    await ensureKeys(parseConfig({ domain: '192.0.2.1' }), paths, options);
    expect(await readFile(paths.dkimKey, 'utf8')).toBe(dkimKey);
    expect(await readFile(paths.tlsCredentials, 'utf8')).not.toBe(certificate);
  });

  test('moves a DKIM key out of the seed, so that only DATA holds it', async () => {
    await using there = await place();
    const { paths } = there;
    await ensureKeys(parseConfig({ domain: 'chat.example.org' }), paths, options);
    const dkimKey = await readFile(paths.dkimKey, 'utf8');
    await writeFile(paths.dkimKey, 'another one');
    await writeFile(
      paths.seed,
      `// mine\n${JSON.stringify({ domain: 'chat.example.org', secrets: { dkimKey } })}`,
    );
    const choice = await loadConfig(paths);
    if (choice.kind !== 'chosen') throw new Error('no configuration');
    await ensureKeys(choice.config, paths, options);
    await putInForce(choice.config, paths);
    await scrubSeedFile(choice.config, paths, { signal: AbortSignal.timeout(5000), log: silentLog });
    expect(await readFile(paths.dkimKey, 'utf8')).toBe(dkimKey);
    for (const path of [paths.seed, paths.lastGoodConfig, paths.config, paths.edgeConfig]) {
      expect(await readFile(path, 'utf8')).not.toContain('PRIVATE KEY');
    }
    expect(await readFile(paths.seed, 'utf8')).toContain('// mine');
    expect((await stat(paths.config)).mode & 0o777).toBe(0o640);
    expect(await loadConfig(paths)).toMatchObject({
      kind: 'chosen',
      source: 'seed',
      config: { secrets: {} },
    });
  });

  test('keeps invite tokens from the process that strangers meet', async () => {
    await using there = await place();
    const { paths } = there;
    const accounts = { create: 'token', tokens: [{ token: 'for-two-friends' }] };
    await putInForce(parseConfig({ domain: 'chat.example.org', accounts }), paths);
    expect(JSON.parse(await readFile(paths.config, 'utf8')).accounts.tokens).toHaveLength(1);
    expect(JSON.parse(await readFile(paths.edgeConfig, 'utf8')).accounts).toMatchObject({
      create: 'token',
      tokens: [],
    });
  });

  test('keeps credentials for DNS as long as a provider is named, and in one place', async () => {
    await using there = await place();
    const { paths } = there;
    const { privateKey } = generateKeyPairSync('ed25519');
    const dkimEd25519Key = privateKey.export({ type: 'pkcs8', format: 'pem' });
    const seed = {
      domain: 'chat.example.org',
      dns: { provider: 'desec', updateAddresses: true },
      secrets: { dnsCredentials: { DESEC_TOKEN: 'the-token' }, dkimEd25519Key },
    };
    await writeFile(paths.seed, JSON.stringify(seed));
    const choice = await loadConfig(paths);
    if (choice.kind !== 'chosen') throw new Error('no configuration');
    await ensureKeys(choice.config, paths, options);
    await putInForce(choice.config, paths);
    await scrubSeedFile(choice.config, paths, { signal: AbortSignal.timeout(5000), log: silentLog });
    expect(JSON.parse(await readFile(paths.dnsCredentials, 'utf8'))).toEqual({ DESEC_TOKEN: 'the-token' });
    expect((await stat(paths.dnsCredentials)).mode & 0o777).toBe(0o600);
    expect(await readFile(paths.dkimEd25519Key, 'utf8')).toBe(dkimEd25519Key);
    for (const path of [paths.seed, paths.lastGoodConfig, paths.config]) {
      expect(await readFile(path, 'utf8')).not.toMatch(/the-token|PRIVATE KEY/);
    }
    // The scrubbed seed still names the provider: what is on DATA stays.
    const again = await loadConfig(paths);
    if (again.kind !== 'chosen') throw new Error('no configuration');
    await ensureKeys(again.config, paths, options);
    expect(await readFile(paths.dnsCredentials, 'utf8')).toContain('the-token');
    await ensureKeys(parseConfig({ domain: 'chat.example.org' }), paths, options);
    await expect(stat(paths.dnsCredentials)).rejects.toThrow('ENOENT');
  });
});
