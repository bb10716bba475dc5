/**
 * Real images from the real archive: the same bytes from the same lock wherever and whenever they are
 * built, also by two builds at once and by an installed package; and what an interrupted build or a full
 * disk leaves behind. The packages come from the cache of the person who runs the tests.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, watch } from 'node:fs';
import {
  cp,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import process from 'node:process';
import { promisify } from 'node:util';
import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../appliance/base/clock.ts';
import { parseConfig, parseConfigText } from '../../appliance/contract/config.ts';
import { dkimPublicKey } from '../../appliance/dns/dkim-key.ts';
import { type BuildContext, buildImage } from '../../builder/build.ts';
import { readBuildConfig } from '../../builder/config.ts';
import { planDisk } from '../../builder/image/plan-disk.ts';
import { makeSeedSecrets } from '../../builder/seed-secrets.ts';
import { hasProgram, startKnot, updateKey } from '../fakes/dns/authoritative.ts';
import { quiet, sharedCacheDirectory, sourceDirectory } from '../vm/built-image.ts';

const run = promisify(execFile);
const hasDnsTools = hasProgram('knotd') && hasProgram('mtype');
const domain = 'chat.example.org';
const baseName = `${domain}-vm-x86_64`;
const timeoutMs = 900_000;

let scratch: string;
/** A copy, since somebody may be working on the sources while this runs. */
let checkout: string;
let entry: string;
/** The operator's keys, made by the first build. */
let keys: string;
/** Built first, as anybody would. Everything is held against it. */
let reference: Readonly<Record<string, string>>;
let lockFile: string;

const manifest = v.object({ files: v.array(v.string()) });
const packageLock = v.object({
  packages: v.record(
    v.string(),
    v.object({ dev: v.optional(v.boolean()), optional: v.optional(v.boolean()) }),
  ),
});
const readJson = async (name: string): Promise<unknown> =>
  JSON.parse(await readFile(join(sourceDirectory, name), 'utf8'));

beforeAll(async () => {
  scratch = await realpath(await mkdtemp(join(tmpdir(), 'build oracle ')));
  checkout = join(scratch, 'checkout');
  const { files } = v.parse(manifest, await readJson('package.json'));
  const there = await readdir(sourceDirectory);
  for (const name of [...files, 'package.json', 'tsconfig.json', 'tsconfig.dist.json']) {
    if (name === 'dist' || !there.includes(name)) continue;
    await cp(join(sourceDirectory, name), join(checkout, name), { recursive: true });
  }
  await symlink(join(sourceDirectory, 'node_modules'), join(checkout, 'node_modules'));
  entry = join(checkout, 'builder/cli/entry.js');
  const out = join(scratch, 'reference');
  keys = join(scratch, 'my keys');
  await buildImage(await readBuildConfig({ domain, out }, '/'), { ...context(), env: process.env });
  lockFile = join(out, `${baseName}.lock.json`);
  reference = await digests(out);
}, timeoutMs);
afterAll(() => rm(scratch, { recursive: true, force: true }));

function context(cacheDirectory = sharedCacheDirectory()): BuildContext {
  return {
    progress: quiet,
    signal: new AbortController().signal,
    clock: systemClock,
    env: {},
    cacheDirectory,
    sourceDirectory: checkout,
    seedAdditions: async () => {
      const document = { domain };
      const appliance = parseConfig(document);
      const keyFolder = join(keys, domain);
      const made = await makeSeedSecrets({
        appliance,
        document,
        keyFolder,
        ed25519: false,
        dnsOnDevice: null,
      });
      return made.additions;
    },
  };
}

async function digests(directory: string): Promise<Readonly<Record<string, string>>> {
  const found: Record<string, string> = {};
  for (const name of (await readdir(directory)).sort()) {
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(join(directory, name))) hash.update(chunk as Uint8Array);
    found[name] = hash.digest('hex');
  }
  return found;
}

/** A cache with what was downloaded, and nothing that was made of it but what `kept` names. */
async function freshCache(name: string, kept: readonly string[] = []): Promise<string> {
  const directory = join(scratch, name);
  for (const folder of ['sha256', 'sha512', ...kept]) {
    const source = join(sharedCacheDirectory(), folder);
    for (const found of await readdir(source, { recursive: true, withFileTypes: true })) {
      if (!found.isFile()) continue;
      const from = join(found.parentPath, found.name);
      const to = join(directory, folder, from.slice(source.length));
      await mkdir(dirname(to), { recursive: true });
      // A link where that can be: the cache replaces files, and never writes into one.
      await link(from, to).catch(() => cp(from, to));
    }
  }
  return directory;
}

interface Surroundings {
  readonly cache: string;
  readonly cwd: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly program?: readonly [string, ...string[]];
}

function start({ cache, cwd, args, env, program = [process.execPath, entry] }: Surroundings) {
  const [command, ...first] = program;
  const child = spawn(command, [...first, ...args], {
    cwd,
    env: { PATH: process.env.PATH, ...env, CHATMAIL_BUILD_CACHE: cache },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, stderr }));
  return { child, ended };
}

const locked = (out: string) =>
  `--offline --domain ${domain} --lock`.split(' ').concat(lockFile, '--out', out, '--keys', keys);

describe('the same lock, configuration, keys and source give the same bytes', () => {
  test(
    'to two builds at once, in another place, time zone, language and umask',
    { timeout: timeoutMs },
    async () => {
      const cache = await freshCache('shared cache');
      const cwd = join(scratch, 'öther');
      await mkdir(cwd);
      const env = {
        TZ: 'Pacific/Kiritimati',
        LANG: 'tr_TR.UTF-8',
        LC_ALL: 'tr_TR.UTF-8',
        NODE_ENV: 'production',
      };
      // Into one directory even.
      const program = ['sh', '-c', 'umask 077; exec "$@"', 'sh', process.execPath, entry] as const;
      const builds = [
        start({ cache, cwd, args: locked('image s'), env, program: [...program] }),
        start({ cache, cwd, args: locked('image s') }),
      ];
      for (const { ended } of builds) expect(await ended).toMatchObject({ code: 0 });
      expect(await digests(join(cwd, 'image s'))).toEqual(reference);
      expect(await readdir(join(cache, 'temporary'))).toEqual([]);
    },
  );

  test('years later', { timeout: timeoutMs }, async () => {
    const out = join(scratch, 'later');
    const config = await readBuildConfig({ domain, lock: lockFile, out, offline: true }, '/');
    await buildImage(config, {
      ...context(await freshCache('later cache', ['unpacked'])),
      clock: { ...systemClock, wallMs: () => Date.UTC(2031, 1, 28) },
    });
    expect(await digests(out)).toEqual(reference);
  });

  test('to the package that npm packs and installs', { timeout: timeoutMs }, async () => {
    const path = [join(sourceDirectory, 'node_modules/.bin'), process.env.PATH].join(delimiter);
    const npmEnv = { ...process.env, PATH: path };
    await run('npm', ['pack', '--pack-destination', scratch], { cwd: checkout, env: npmEnv });
    const home = join(scratch, 'home');
    await mkdir(join(home, 'node_modules'), { recursive: true });
    const [tarball = ''] = (await readdir(scratch)).filter((name) => name.endsWith('.tgz'));
    // What `npm install` makes of it, without its registry: dependencies beside the package.
    await run('tar', ['-xzf', join(scratch, tarball), '-C', home]);
    const { packages } = v.parse(packageLock, await readJson('package-lock.json'));
    for (const [path, { dev, optional }] of Object.entries(packages)) {
      const isWanted = path !== '' && dev !== true && (optional !== true || path.includes('@esbuild/'));
      const from = join(sourceDirectory, path);
      const isThere = await stat(from).then(
        () => true,
        () => false,
      );
      if (isWanted && isThere) await cp(from, join(home, path), { recursive: true, verbatimSymlinks: true });
    }
    const installed = join(home, 'node_modules/chatmail-build');
    await cp(join(home, 'package'), installed, { recursive: true });
    expect(await readdir(join(installed, 'dist'))).toEqual(['appliance', 'builder', 'images']);

    const program = [process.execPath, join(installed, 'builder/cli/entry.js')] as const;
    const cache = await freshCache('package cache', ['unpacked', 'roots', 'initramfs']);
    const { ended } = start({ cache, cwd: home, args: locked('out'), program: [...program] });
    expect(await ended).toMatchObject({ code: 0 });
    expect(await digests(join(home, 'out'))).toEqual(reference);
  });
});

describe.skipIf(!hasDnsTools && process.env.CI === undefined)('a build with --dns', () => {
  test(
    'publishes the key that the image signs with, and puts the credentials where it is told to',
    { timeout: timeoutMs },
    async () => {
      const server = await startKnot(['example.org']);
      try {
        const out = join(scratch, 'named');
        const env = {
          RFC2136_NAMESERVER: `127.0.0.1:${server.port}`,
          RFC2136_TSIG_KEY: updateKey.name,
          RFC2136_TSIG_SECRET: updateKey.secret,
        };
        // No delegation leads to a server on loopback, so there is nothing to wait for.
        const resolver = `127.0.0.1:${server.port}`;
        const flags = `--dns rfc2136 --dns-on-device --ed25519 --yes --wait 0 --ipv4 203.0.113.5`;
        const args = locked(out).concat(flags.split(' '), '--resolver', resolver);
        const { ended } = start({ cache: sharedCacheDirectory(), cwd: scratch, args, env });
        const { code, stderr } = await ended;
        expect(stderr).toContain('+ chat.example.org. 300 IN A 203.0.113.5');
        expect(stderr).not.toContain(updateKey.secret);
        expect(code).toBe(0);

        const image = join(out, `${baseName}.img`);
        expect((await stat(image)).mode & 0o777).toBe(0o600);
        const { boot } = planDisk(`vm-x86_64 ${domain}`);
        const seed = await run('mtype', ['-i', `${image}@@${boot.startBytes}`, '::chatmail.json']);
        const { dns, secrets } = parseConfigText(seed.stdout);
        expect(dns).toEqual({ provider: 'rfc2136', updateAddresses: true });
        expect(secrets.dnsCredentials).toEqual(env);
        for (const pem of [secrets.dkimKey, secrets.dkimEd25519Key]) {
          const key = dkimPublicKey(pem ?? '', 'the seed');
          const published = await server.truth(`${key.selector}._domainkey.${domain}`, 'TXT');
          const text = (published?.values.join('') ?? '').replace(/" "|"/g, '');
          expect(text).toContain(`p=${key.publicKeyBase64};`);
        }
      } finally {
        await server.close();
        await rm(join(keys, domain, 'dkim-ed25519.pem'), { force: true });
      }
    },
  );
});

describe('an image that does not get finished', () => {
  test('is not there after Ctrl-C, and an older one still is', { timeout: timeoutMs }, async () => {
    const cache = await freshCache('interrupted cache', ['unpacked', 'roots', 'initramfs']);
    const out = join(scratch, 'interrupted');
    await mkdir(out);
    await writeFile(join(out, `${baseName}.img`), 'an older image');
    // The moment is short, so it may be missed.
    for (let attempt = 0; ; attempt++) {
      const { child, ended } = start({ cache, cwd: scratch, args: locked(out) });
      const watcher = watch(out, (_, name) => {
        if (name?.endsWith('.partial') === true) child.kill('SIGINT');
      });
      const { code, stderr } = await ended;
      watcher.close();
      if (code === 0 && attempt < 5) {
        await writeFile(join(out, `${baseName}.img`), 'an older image');
        continue;
      }
      expect(code).toBe(130);
      expect(stderr).toContain('error: Interrupted\n');
      break;
    }
    expect((await readdir(out)).filter((name) => !name.endsWith('.json'))).toEqual([`${baseName}.img`]);
    expect(await readFile(join(out, `${baseName}.img`), 'utf8')).toBe('an older image');
    const { ended } = start({ cache, cwd: scratch, args: locked(out) });
    expect(await ended).toMatchObject({ code: 0 });
    expect(await digests(out)).toEqual(reference);
  });

  // Mounting needs root; in CI it has to be there.
  const canMount = process.env.CI !== undefined || (process.platform === 'linux' && process.getuid?.() === 0);

  test.skipIf(!canMount)('is not there when the disk is full', { timeout: timeoutMs }, async () => {
    const out = join(scratch, 'small disk');
    await mkdir(out);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'tmpfs', out]);
    try {
      const { ended } = start({ cache: sharedCacheDirectory(), cwd: scratch, args: locked(out) });
      expect(await ended).toEqual({
        code: 1,
        stderr: expect.stringContaining(
          `error: The image cannot go to ${out}: the disk is full\n  fix: Free some space, or choose another disk with --out\n`,
        ),
      });
      expect(await readdir(out)).toEqual([]);
    } finally {
      await run('umount', [out]);
    }
  });

  test.skipIf(!canMount)('is not begun on a disk that is read-only', { timeout: timeoutMs }, async () => {
    const out = join(scratch, 'read-only');
    await mkdir(out);
    await run('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', out]);
    try {
      const { ended } = start({
        cache: sharedCacheDirectory(),
        cwd: scratch,
        args: locked(join(out, 'a/b')),
      });
      expect(await ended).toEqual({
        code: 1,
        stderr: expect.stringContaining(
          `error: The image cannot go to ${join(out, 'a/b')}: the disk is read-only\n`,
        ),
      });
    } finally {
      await run('umount', [out]);
    }
  });
});
