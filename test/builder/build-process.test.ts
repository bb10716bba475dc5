/** Ctrl-C on real processes that download from an archive that never ends. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempDisposable, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import process from 'node:process';
import { describe, expect, test } from 'vitest';
import { vmX86 } from '../../images/vm-x86_64.ts';
import { serveFiles } from '../fakes/debian-archive.ts';
import { fakePackageBytes, lockFor } from '../fakes/lock.ts';

const entry = resolve(import.meta.dirname, '../../builder/cli/entry.js');

/** Serves the first half of every package, and one of them whole. */
async function slowArchive() {
  const started = Promise.withResolvers<void>();
  const server = await serveFiles(new Map(), (path, response) => {
    const name = /pool\/main\/(.+)\.deb$/.exec(path)?.[1] ?? '';
    const bytes = fakePackageBytes(name);
    response.writeHead(200, { 'content-length': bytes.length });
    if (name === 'busybox-static') response.end(bytes);
    else response.write(bytes.subarray(0, 2000), () => started.resolve());
    return true;
  });
  return { ...server, started: started.promise };
}

/** An npm that hangs. */
const hangingNpm = 'setInterval(() => {}, 1000);';

async function interruptedBuild(
  interrupt: (pid: number) => Promise<void> | void,
  flags: readonly string[] = [],
) {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'interrupted-'));
  await using archive = await slowArchive();
  const file = (name: string) => join(scratch.path, name);
  await writeFile(file('a.lock.json'), JSON.stringify(lockFor(vmX86)));
  await writeFile(file('npm-cli.js'), hangingNpm);
  const args = ['--domain', 'chat.example.org', '--lock', 'a.lock.json', '--mirror', `${archive.url}/debian`];
  const child = spawn(process.execPath, [entry, ...args, ...flags], {
    cwd: scratch.path,
    // A group of its own, as a shell gives it: a terminal's Ctrl-C goes to all of it.
    detached: true,
    env: {
      PATH: process.env.PATH,
      CHATMAIL_BUILD_CACHE: 'cache',
      npm_execpath: file('npm-cli.js'),
    },
  });
  const out = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (out.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (out.stderr += chunk.toString()));
  const ended = once(child, 'close') as Promise<[number | null, string | null]>;
  await Promise.race([archive.started, ended]);
  if (child.pid === undefined) throw new Error('It did not start');
  await interrupt(child.pid);
  const [code, signal] = await ended;
  const blobs = await readdir(file('cache/sha256'), { recursive: true }).catch(() => []);
  return {
    ...out,
    code,
    signal,
    outFiles: await readdir(file('out')),
    temporary: await readdir(file('cache/temporary')),
    blobs: blobs.filter((name) => /[0-9a-f]{64}$/.test(name)).length,
  };
}

const clean = {
  code: 130,
  signal: null,
  outFiles: [],
  temporary: [],
  stdout: '',
  stderr:
    'chat.example.org for vm-x86_64\n' +
    'error: Interrupted\n  fix: Run the same command again: what was downloaded is kept\n',
};

describe.skipIf(process.platform === 'win32')('an interrupted build', () => {
  test('of a whole process group leaves a valid cache, no image and exit code 130', async () => {
    const result = await interruptedBuild((pid) => void process.kill(-pid, 'SIGINT'));
    expect(result).toMatchObject(clean);
    expect(result.blobs).toBeLessThanOrEqual(1);
  });

  test('takes Ctrl-C that npx passes on a second time for one', async () => {
    const twice = (pid: number) => {
      process.kill(-pid, 'SIGINT');
      process.kill(pid, 'SIGINT');
    };
    expect(await interruptedBuild(twice)).toMatchObject(clean);
  });

  test.each(['SIGTERM', 'SIGHUP'] as const)('by %s ends the same way', async (signal) => {
    expect(await interruptedBuild((pid) => void process.kill(pid, signal))).toMatchObject(clean);
  });

  test('with --json ends with an object', async () => {
    const { stdout, stderr, code } = await interruptedBuild(
      (pid) => void process.kill(pid, 'SIGINT'),
      ['--json'],
    );
    expect(JSON.parse(stdout)).toMatchObject({ event: 'error', code: 'interrupted', message: 'Interrupted' });
    expect({ stderr, code }).toEqual({ stderr: '', code: 130 });
  });
});
