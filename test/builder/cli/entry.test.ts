/** The entry file as a process: on Nodes old and new, in a checkout and as npm installs it. */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import process from 'node:process';
import { afterAll, describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../../..');
const entry = join(root, 'builder/cli/entry.js');
// Resolved, since macOS has /tmp behind a link, and a process tells its real path.
const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'entry-')));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

interface Started {
  readonly node?: string;
  readonly entry?: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

async function start({ node = process.execPath, entry: file = entry, args = [], env = {} }: Started) {
  const { NODE_OPTIONS: _, ...inherited } = process.env;
  const child = spawn(node, [file, ...args], { env: { ...inherited, ...env }, cwd: scratch });
  const out = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (out.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (out.stderr += chunk.toString()));
  const code = await new Promise<number | null>((done) => child.on('close', done));
  return { code, ...out };
}

/** This Node, saying it is an old one. */
const claimsOldNode =
  'data:text/javascript,Object.defineProperty(process,"versions",{value:{...process.versions,node:"20.19.0"}});Object.defineProperty(process,"version",{value:"v20.19.0"})';

const startOld = (file: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  start({ entry: '--import', args: [claimsOldNode, file, ...args], env });

/** A Node of the machine that is too old, if it has one. */
function oldNode(): string | undefined {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(directory, process.platform === 'win32' ? 'node.exe' : 'node');
    try {
      if (Number(/^v(\d+)/.exec(execFileSync(path, ['--version'], { encoding: 'utf8' }))?.[1]) < 24)
        return path;
    } catch {
      // None here.
    }
  }
  return undefined;
}

/** A package directory with the real entry file and programs that say who runs them. */
function packageAt(directory: string, files: Readonly<Record<string, string>>): string {
  for (const [path, text] of Object.entries({ 'package.json': '{"type":"module"}', ...files })) {
    mkdirSync(join(directory, path, '..'), { recursive: true });
    writeFileSync(join(directory, path), text);
  }
  const copy = join(directory, 'builder/cli/entry.js');
  mkdirSync(join(copy, '..'), { recursive: true });
  cpSync(entry, copy);
  return copy;
}

const says = (text: string) =>
  `export const runProcess = async () => { console.log('${text}'); return 7; };\n`;

describe('entry.js', () => {
  test('runs the command line and hands on its exit code', async () => {
    expect(await start({ args: ['--help'] })).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('--domain'),
      stderr: '',
    });
    expect(await start({ args: ['--domain', 'nodot'] })).toMatchObject({ code: 2, stdout: '' });
  });

  test('in a checkout the sources win over a dist/ that may be stale', async () => {
    const file = packageAt(join(scratch, 'checkout'), {
      'builder/cli/main.ts': says('source'),
      'dist/builder/cli/main.js': says('compiled'),
    });
    expect(await start({ entry: file })).toEqual({ code: 7, stdout: 'source\n', stderr: '' });
  });

  test('below node_modules, where Node takes no TypeScript, what is compiled runs', async () => {
    const file = packageAt(join(scratch, 'home/node_modules/chatmail-build'), {
      'builder/cli/main.ts': says('source'),
      'dist/builder/cli/main.js': says('compiled'),
    });
    expect(await start({ entry: file })).toEqual({ code: 7, stdout: 'compiled\n', stderr: '' });
    // As npm links it on PATH.
    const link = join(scratch, 'chatmail-build');
    if (process.platform !== 'win32') {
      symlinkSync(file, link);
      expect(await start({ entry: link })).toMatchObject({ code: 7, stdout: 'compiled\n' });
    }
  });

  test('an installed package without its compiled half says so', async () => {
    const file = packageAt(join(scratch, 'broken/node_modules/chatmail-build'), {});
    const { code, stdout, stderr } = await start({ entry: file });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(
      /^error: This package is not whole: .*main\.js is missing\n {2}fix: Install it again/,
    );
  });

  test('an old Node without a newer one beside it is told which to install', async () => {
    const file = packageAt(join(scratch, 'lonely'), { 'builder/cli/main.ts': says('source') });
    expect(await startOld(file, [])).toEqual({
      code: 1,
      stdout: '',
      stderr:
        'error: chatmail-build needs Node 24 or newer, and this is v20.19.0\n' +
        '  fix: Install Node 24 from https://nodejs.org, and run the same command again\n',
    });
  });

  test.skipIf(process.platform === 'win32')('an old Node hands over to the one npm installed', async () => {
    const name = `node-${process.platform}-${process.arch}`;
    const file = packageAt(join(scratch, 'paired'), {
      'builder/cli/main.ts': `export const runProcess = async () => {
        console.log(process.argv.slice(2).join('|'), process.env.CHATMAIL_BUILD_RESPAWNED);
        return 5;
      };`,
      [`node_modules/${name}/package.json`]: '{}',
    });
    mkdirSync(join(scratch, 'paired/node_modules', name, 'bin'));
    const bundled = join(scratch, 'paired/node_modules', name, 'bin/node');
    symlinkSync(process.execPath, bundled);
    expect(await startOld(file, ['a b', '--json'])).toEqual({
      code: 5,
      stdout: 'a b|--json 1\n',
      stderr: '',
    });
    // And does not go on handing over when that one is too old as well.
    expect(await startOld(file, [], { CHATMAIL_BUILD_RESPAWNED: '1' })).toMatchObject({
      code: 1,
      stdout: '',
    });
    rmSync(bundled);
    writeFileSync(bundled, 'not executable', { mode: 0o644 });
    expect(await startOld(file, [])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('Node 24 does not start: '),
    });
  });

  const old = oldNode();
  test.skipIf(old === undefined)('a Node that really is old runs the command line all the same', async () => {
    expect(
      await start({ ...(old !== undefined && { node: old }), args: ['--domain', 'nodot'] }),
    ).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('"nodot" is not a domain'),
    });
  });

  test.skipIf(process.platform === 'win32')('a reader that leaves early is no failure', async () => {
    const { NODE_OPTIONS: _, ...env } = process.env;
    const child = spawn(process.execPath, [entry, '--help'], { env });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const code = await new Promise<number | null>((done) => child.on('close', done));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });
});
