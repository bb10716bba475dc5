import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../appliance/contract/config.ts';
import { readSeedFlags, type SeedFlags } from '../../builder/seed-flags.ts';

const key = (comment: string) =>
  `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ${comment}`;

interface Surroundings {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** On a terminal. */
  readonly typed?: string;
  readonly document?: object;
}

/** What the flags make of a document, and what was asked. */
async function read(flags: SeedFlags, { cwd = tmpdir(), env = {}, typed, document }: Surroundings = {}) {
  let asked = '';
  const terminal = <T extends object>(stream: T) => Object.assign(stream, { isTTY: typed !== undefined });
  const stderr = terminal(new PassThrough().on('data', (chunk: Buffer) => (asked += chunk.toString())));
  const stdin = terminal(new PassThrough());
  if (typed !== undefined) stdin.write(typed);
  const change = await readSeedFlags(flags, { cwd, env, stdin, stderr, signal: AbortSignal.timeout(5000) });
  return { document: change?.({ domain: 'chat.example.org', ...document }), asked };
}

const home = { wifi: 'Home', 'wifi-country': 'DE' };

describe('readSeedFlags', () => {
  test('gives nothing where none is given', async () => {
    expect(await read({})).toEqual({ document: undefined, asked: '' });
  });

  test('sets Wi-Fi with a password from a file, the environment, or a question that does not show it', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'seed-'));
    await writeFile(join(scratch.path, 'password'), '\uFEFFfrom a file\r\nand more\r\n');
    const wanted = (wifiPassword: string) => ({
      domain: 'chat.example.org',
      network: { wifi: { ssid: 'Home', country: 'DE' } },
      secrets: { wifiPassword },
    });
    const env = { CHATMAIL_WIFI_PASSWORD: 'from outside' };
    const file = await read({ ...home, 'wifi-password-file': 'password' }, { cwd: scratch.path, env });
    expect(file.document).toEqual(wanted('from a file'));
    expect((await read(home, { env })).document).toEqual(wanted('from outside'));
    const asked = await read(home, { typed: 'typed here\n' });
    expect(asked).toEqual({
      document: wanted('typed here'),
      asked: 'Password of the Wi-Fi network Home: \n',
    });
    for (const { document } of [file, asked]) expect(() => parseConfig(document)).not.toThrow();
  });

  test('takes an open network at its word, and the old password away', async () => {
    const document = { secrets: { wifiPassword: 'of the other', dkimKey: 'k' }, network: { ipv6: 'off' } };
    expect((await read({ ...home, 'wifi-open': true }, { document })).document).toEqual({
      domain: 'chat.example.org',
      network: { ipv6: 'off', wifi: { ssid: 'Home', country: 'DE', security: 'open' } },
      secrets: { dkimKey: 'k' },
    });
  });

  test('keeps the country of the document, and knows countries by their other codes', async () => {
    const document = { network: { wifi: { ssid: 'Away', country: 'FR', hidden: true } } };
    const env = { CHATMAIL_WIFI_PASSWORD: 'from outside' };
    expect((await read({ wifi: 'Home' }, { env, document })).document).toMatchObject({
      network: { wifi: { ssid: 'Home', country: 'FR' } },
    });
    expect((await read({ 'wifi-country': 'uk' }, { document })).document).toMatchObject({
      network: { wifi: { ssid: 'Away', country: 'GB', hidden: true } },
    });
  });

  test('sets fixed addresses of both kinds', async () => {
    const { document } = await read({
      address: ['2001:db8::5/64', '192.0.2.5/24'],
      gateway: ['192.0.2.1', 'fe80::1'],
    });
    expect(parseConfig(document).network).toMatchObject({
      ipv4: { address: '192.0.2.5/24', gateway: '192.0.2.1' },
      ipv6: { address: '2001:db8::5/64', gateway: 'fe80::1' },
    });
  });

  test('adds SSH keys, given or in files, once each', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'seed-'));
    await writeFile(join(scratch.path, 'keys.pub'), `# mine\n${key('a')}\r\n\n${key('b')}\n`);
    const flags = { 'ssh-key': [key('b'), 'keys.pub'] };
    const { document } = await read(flags, { cwd: scratch.path, document: { sshKeys: [key('c')] } });
    expect(document?.sshKeys).toEqual([key('c'), key('b'), key('a')]);
  });

  test('sets anything else by its path, over the other flags', async () => {
    const { document } = await read(
      {
        address: ['192.0.2.5/24'],
        gateway: ['192.0.2.1'],
        set: [
          'mail.quotaBytes=1000000000',
          'comment=Hi there = you',
          'network.mdns=off',
          'network.ipv4=dhcp',
          'tls.authorities=[]',
          'accounts.create=null',
          'constructor.prototype.x=1',
        ],
      },
      { document: { accounts: { create: 'token', passwordMin: 12 }, mail: { messageBurst: 3 } } },
    );
    expect(document).toEqual({
      domain: 'chat.example.org',
      accounts: { passwordMin: 12 },
      mail: { quotaBytes: 1_000_000_000, messageBurst: 3 },
      comment: 'Hi there = you',
      network: { ipv4: 'dhcp', mdns: 'off' },
      tls: { authorities: [] },
      constructor: { prototype: { x: 1 } },
    });
    expect(Object.hasOwn(Object.prototype, 'x')).toBe(false);
    expect(() => parseConfig(document)).toThrow('constructor is not a known setting');
  });

  test.each<[SeedFlags, string, string]>([
    [home, '--wifi', 'nobody can be asked'],
    [{ wifi: 'Home', 'wifi-open': true }, '--wifi-country', 'in which country'],
    [{ ...home, 'wifi-country': 'DEU' }, '--wifi-country', 'is not a country'],
    [{ ...home, 'wifi-country': 'QX' }, '--wifi-country', 'is not a country'],
    [{ 'wifi-open': true }, '--wifi-open', 'belongs to --wifi'],
    [{ ...home, 'wifi-open': true, 'wifi-password-file': 'x' }, '--wifi-open', 'exclude each other'],
    [{ ...home, 'wifi-password-file': 'no-such-file' }, '--wifi-password-file', 'there is no such file'],
    [{ address: ['192.0.2.5/24'] }, '--gateway', 'stands alone'],
    [{ gateway: ['fe80::1'] }, '--address', 'stands alone'],
    [{ address: ['192.0.2.5/24', '192.0.2.6/24'], gateway: ['192.0.2.1'] }, '--address', 'More than one'],
    [{ address: ['router/24'], gateway: ['192.0.2.1'] }, '--address', 'is not an IP address'],
    [{ address: ['router/24'] }, '--address', 'is not an IP address'],
    [{ 'ssh-key': ['no-such-file'] }, '--ssh-key', 'there is no such file'],
    [{ set: ['mail.quotaBytes'] }, '--set', 'PATH=VALUE'],
    [{ set: ['secrets.wifiPassword=hunter22'] }, '--set', 'no place for secrets'],
    [{ set: ['domain=other.example'] }, '--set', 'when the image is built'],
  ])('refuses %j', async (flags, path, text) => {
    await expect(read(flags)).rejects.toThrow(
      expect.objectContaining({ path, message: expect.stringContaining(text), fix: expect.anything() }),
    );
  });

  test('refuses a private key, and a file that is none', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'seed-'));
    await writeFile(join(scratch.path, 'id'), '-----BEGIN OPENSSH PRIVATE KEY-----\n');
    await writeFile(join(scratch.path, 'other'), 'hello\n');
    const { path: cwd } = scratch;
    await expect(read({ 'ssh-key': ['id'] }, { cwd })).rejects.toThrow('is a private key');
    await expect(read({ 'ssh-key': ['other'] }, { cwd })).rejects.toThrow('holds no public SSH key');
  });
});
