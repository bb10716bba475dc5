/** Builds that cannot succeed, in process: what the person is told, and that nothing is left behind. */
import { createServer } from 'node:http';
import { mkdir, mkdtempDisposable, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { vmX86 } from '../../images/vm-x86_64.ts';
import { lockFor } from '../fakes/lock.ts';
import { serveFiles } from '../fakes/debian-archive.ts';
import { cli } from './cli/in-process.ts';

/** Nobody listens there: it was ours a moment ago. */
let closedUrl: string;
beforeAll(async () => {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('No port');
  closedUrl = `http://127.0.0.1:${address.port}`;
  await new Promise((done) => server.close(done));
});

interface Attempt {
  readonly args: readonly string[];
  /** All downloads go there, whatever they are for. */
  readonly proxy?: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  readonly env?: Readonly<Record<string, string>>;
}

/** One build from a directory of its own with an empty cache, which has to leave no file. */
async function attempt({ args, proxy = closedUrl, files = {}, signal, env = {} }: Attempt) {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'build '));
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory.path, name), text);
  const result = await cli(['--domain', 'chat.example.org', ...args], {
    cwd: directory.path,
    env: {
      CHATMAIL_BUILD_CACHE: 'cache',
      XDG_CONFIG_HOME: join(directory.path, 'keys'),
      http_proxy: proxy,
      https_proxy: proxy,
      ...env,
    },
    ...(signal !== undefined && { signal }),
  });
  const left = (await readdir(directory.path, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
    .filter((name) => name !== 'CACHEDIR.TAG' && !Object.hasOwn(files, name));
  expect(left).toEqual([]);
  return { ...result, stderr: result.stderr.replaceAll(directory.path, '.') };
}

const refused = (message: string, fix: string) =>
  `chat.example.org for vm-x86_64\nerror: ${message}\n  fix: ${fix}\n`;

describe('a build', () => {
  test('without a network says which host it asked for what', async () => {
    const { code, stderr } = await attempt({ args: ['--mirror', `${closedUrl}/debian`] });
    const host = new URL(closedUrl).host;
    expect(stderr).toMatch(/of trixie(-\w+)? cannot be downloaded from/);
    expect(stderr).toContain(`from ${host}: the connection was refused`);
    expect(stderr).toContain(
      'fix: Check the network, choose another mirror with --mirror URL, or build from',
    );
    expect(code).toBe(1);
  });

  test('from a mirror without the suite says that it is not there', async () => {
    await using server = await serveFiles(new Map());
    const { code, stderr } = await attempt({ args: ['--mirror', `${server.url}/debian`], proxy: server.url });
    expect(stderr).toMatch(/error: InRelease of trixie(-\w+)? is not on 127\.0\.0\.1:\d+/);
    expect(stderr).toMatch(/\n {2}fix: .*choose another mirror with --mirror URL\n$/);
    expect(code).toBe(1);
  });

  test('from something that is no mirror believes nothing of it', async () => {
    await using server = await serveFiles(new Map(), (_, response) => {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>Log in to this hotel</html>');
      return true;
    });
    const { code, stderr } = await attempt({ args: ['--mirror', `${server.url}/debian`], proxy: server.url });
    expect(stderr).toMatch(/error: .*InRelease/);
    expect(code).toBe(1);
  });

  test('with --offline and an empty cache says to run once without', async () => {
    const { code, stdout, stderr } = await attempt({ args: ['--offline'] });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    // Suites are opened at once, so any may be the first to be missed.
    expect(stderr.replace(/trixie-\w+/, 'trixie')).toBe(
      refused(
        'The index of trixie is not in the cache',
        'Run it once without --offline, with the same target',
      ),
    );
  });

  test('of a lock with --offline and an empty cache names what is missing', async () => {
    const files = { 'a.lock.json': JSON.stringify(lockFor(vmX86)) };
    const { code, stderr } = await attempt({ args: ['--offline', '--lock', 'a.lock.json'], files });
    expect(stderr).toMatch(/error: (\S+\.deb, ){2}\S+\.deb and \d+ more are not in the cache\n/);
    expect(code).toBe(1);
  });

  test('of a lock whose packages the mirror serves otherwise uses nothing of them', async () => {
    const files = { 'a.lock.json': JSON.stringify(lockFor(vmX86)) };
    await using server = await serveFiles(new Map(), (_, response) => {
      response.end(Buffer.alloc(4096, 'other'));
      return true;
    });
    const args = ['--lock', 'a.lock.json', '--mirror', `${server.url}/debian`];
    const { code, stderr } = await attempt({ args, files, proxy: server.url });
    expect(stderr).toMatch(/error: \S+\.deb does not match: expected sha256 [0-9a-f]{64}, found/);
    expect(stderr).toContain('fix: Nothing was used of it.');
    expect(code).toBe(1);
  });

  test('into a file is refused before anything is asked for', async () => {
    await using server = await serveFiles(new Map());
    const args = ['--out', 'taken', '--mirror', `${server.url}/debian`];
    expect(await attempt({ args, proxy: server.url, files: { taken: '' } })).toEqual({
      code: 2,
      stdout: '',
      stderr: refused(
        `The image cannot go to ${join('.', 'taken').replace(/^(?!\.)/, './')}: a file is in the way`,
        'Name a directory with --out; the image gets its name from the domain and the target',
      ),
    });
    expect(server.requests).toEqual([]);
  });

  test('shows both forms of an internationalised name', async () => {
    const { stderr } = await attempt({ args: ['--domain', 'bücher.example', '--offline'] });
    expect(stderr).toMatch(/^xn--bcher-kva\.example \(bücher\.example\) for vm-x86_64\n/);
  });

  test('with --json says nothing on stderr, and ends with the error', async () => {
    const { code, stdout, stderr } = await attempt({ args: ['--offline', '--json'] });
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    expect(events.at(-1)).toEqual({
      event: 'error',
      code: 'offline',
      message: expect.stringMatching(/^The index of trixie(-\w+)? is not in the cache$/),
      fix: 'Run it once without --offline, with the same target',
    });
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
  });

  test('that is interrupted while it downloads says so', async () => {
    const controller = new AbortController();
    await using server = await serveFiles(new Map(), (_, response) => {
      response.writeHead(200, { 'content-length': 1_000_000 }).write('Hash: SHA256');
      controller.abort();
      return true;
    });
    const args = ['--mirror', `${server.url}/debian`];
    const { code, stderr } = await attempt({ args, proxy: server.url, signal: controller.signal });
    expect(stderr).toContain('error: Interrupted\n  fix: Run the same command again');
    expect(code).toBe(130);
  });
});

describe('a directory of another name', () => {
  const scratch = mkdtempDisposable(join(tmpdir(), 'names-'));
  afterAll(async () => (await scratch)[Symbol.asyncDispose]());

  test.each(['a b', 'Ünïcödé', 'quote\'s "and" $HOME', '-dash'])('%s serves as any other', async (name) => {
    const cwd = join((await scratch).path, name);
    await mkdir(cwd);
    await writeFile(join(cwd, 'my settings.json'), '{"domain": "chat.example.org"}');
    const args = ['--config', 'my settings.json', '--out', join('..', name, 'ö ut'), '--offline'];
    const { stderr } = await cli(args, { cwd, env: { CHATMAIL_BUILD_CACHE: 'cäche' } });
    expect(stderr).toMatch(/The index of trixie(-\w+)? is not in the cache/);
    expect((await readdir(cwd)).sort()).toEqual(['cäche', 'my settings.json', 'ö ut']);
  });
});

describe('a build with --dns', () => {
  const dns = ['--dns', 'rfc2136', '--yes'];

  test.each([
    [['--ipv4', '203.0.113.5'], '--ipv4 belongs to --dns'],
    [['--dns-on-device'], '--dns-on-device belongs to --dns'],
    [['--dns', 'nosuch'], 'There is no DNS provider "nosuch"'],
    [[...dns, '--domain', '192.0.2.1'], 'A relay at the address 192.0.2.1 needs no DNS records'],
    [dns, 'Dynamic updates (RFC 2136) needs RFC2136_NAMESERVER, RFC2136_TSIG_KEY, RFC2136_TSIG_SECRET'],
    [['--dns', 'desec', '--wait', '-1'], '--wait'],
  ])('%j is refused before any work', async (args, message) => {
    const { code, stderr } = await attempt({ args });
    expect(stderr).toContain(message);
    expect(stderr).not.toContain('Debian packages');
    expect(code).toBe(2);
  });

  test('that cannot reach the provider does not begin', async () => {
    const env = {
      RFC2136_NAMESERVER: new URL(closedUrl).host,
      RFC2136_TSIG_KEY: 'name',
      RFC2136_TSIG_SECRET: 'c2VjcmV0',
    };
    const { code, stderr } = await attempt({ args: [...dns, '--resolver', '127.0.0.1:9'], env });
    expect(stderr).toContain('The primary name server: 127.0.0.1 runs no name server');
    expect(stderr).not.toContain('Debian packages');
    expect(stderr).not.toContain('c2VjcmV0');
    expect(code).toBe(1);
  });

  test.skipIf(process.platform === 'win32')('and a key folder that others can read is refused', async () => {
    await using keys = await mkdtempDisposable(join(tmpdir(), 'open '));
    await mkdir(join(keys.path, 'chat.example.org'), { mode: 0o755 });
    const { code, stderr } = await attempt({ args: ['--keys', keys.path] });
    expect(stderr).toContain('holds secrets, but others can read it (mode 755)');
    expect(stderr).toContain('fix: Run: chmod go= ');
    expect(code).toBe(2);
  });
});
