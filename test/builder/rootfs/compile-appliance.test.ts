import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtempDisposable, realpath, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { compileAppliance } from '../../../builder/rootfs/compile-appliance.ts';

/** Programs that share code, one of which loads a CommonJS package lazily that has a package of its own. */
const sources: Readonly<Record<string, string>> = {
  'package.json': '{"type":"module"}',
  'appliance/supervisor.ts':
    "import { greet } from './base/greet.ts';\nexport const said = greet('supervisor');\nexport const lazy = async () => (await import('./base/lazy.ts')).answer;\n",
  'appliance/relay.ts':
    "import { greet } from './base/greet.ts';\nexport const said: string = greet('relay');\n",
  'appliance/certificate-order.ts': 'export const said = 42;\n',
  'appliance/edge.ts':
    "import { greet } from './base/greet.ts';\nexport const said: string = greet('edge');\n",
  'appliance/base/greet.ts': 'export const greet = (name: string): string => `hello ${name}`;\n',
  'appliance/base/lazy.ts':
    "import outer from '@scope/outer';\nexport const answer: number = outer.answer;\n",
};
const packages: Readonly<Record<string, string>> = {
  '@scope/outer/package.json': '{"name":"@scope/outer","main":"index.js"}',
  '@scope/outer/index.js': "module.exports = { answer: require('inner').six * 7 };\n",
  '@scope/outer/node_modules/inner/package.json': '{"name":"inner","main":"index.js"}',
  '@scope/outer/node_modules/inner/index.js': 'exports.six = 6;\n',
};

async function write(directory: string, files: Readonly<Record<string, string>>) {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), text);
  }
}

async function layouts() {
  const scratch = await mkdtempDisposable(join(await realpath(tmpdir()), 'compile-'));
  const checkout = join(scratch.path, 'a checkout');
  await write(checkout, sources);
  await write(join(checkout, 'node_modules'), packages);
  const home = join(scratch.path, 'home');
  const installed = join(home, 'node_modules/chatmail-build');
  await write(installed, sources);
  await cp(join(checkout, 'node_modules'), join(home, 'node_modules'), { recursive: true });
  return { scratch, checkout, home, installed };
}

describe('compileAppliance', () => {
  test('gives the same bytes wherever npm put the dependencies, and says where they are', async () => {
    const { scratch, checkout, home, installed } = await layouts();
    await using _ = scratch;
    const one = await compileAppliance(checkout);
    const other = await compileAppliance(installed);
    expect(other.programs).toEqual(one.programs);
    const names = (directory: string) => [
      { name: '@scope/outer', directory: join(directory, 'node_modules/@scope/outer') },
      { name: 'inner', directory: join(directory, 'node_modules/@scope/outer/node_modules/inner') },
    ];
    expect(one.npmPackages).toEqual(names(checkout));
    expect(other.npmPackages).toEqual(names(home));
    const texts = one.programs.map(({ bytes }) => new TextDecoder().decode(bytes)).join('');
    expect(texts).not.toContain(scratch.path);
    expect(texts).not.toContain('node_modules');
  });

  test('makes programs that run, and load what they load lazily', async () => {
    const { scratch, checkout } = await layouts();
    await using _ = scratch;
    const { programs } = await compileAppliance(checkout);
    expect(programs.map(({ fileName }) => fileName)).toEqual(
      expect.arrayContaining([
        'edge.js',
        'relay.js',
        'supervisor.js',
        expect.stringMatching(/^chunk-[0-9a-f]{12}\.js$/),
      ]),
    );
    const out = join(scratch.path, 'programs');
    await mkdir(out);
    await writeFile(join(out, 'package.json'), '{"type":"module"}');
    for (const { fileName, bytes } of programs) await writeFile(join(out, fileName), bytes);
    const load = async (name: string): Promise<{ said: string; lazy?: () => Promise<number> }> =>
      (await import(pathToFileURL(join(out, name)).href)) as { said: string };
    expect((await load('relay.js')).said).toBe('hello relay');
    const supervisor = await load('supervisor.js');
    expect(supervisor.said).toBe('hello supervisor');
    expect(await supervisor.lazy?.()).toBe(42);
  });

  test.each(['relay.js', 'edge.js'])(
    '%s starts without what Node loads only when its modules are looked through',
    async (name) => {
      const { programs } = await compileAppliance(resolve(import.meta.dirname, '../../..'));
      await using scratch = await mkdtempDisposable(join(tmpdir(), 'compile-'));
      await writeFile(join(scratch.path, 'package.json'), '{"type":"module"}');
      for (const { fileName, bytes } of programs) await writeFile(join(scratch.path, fileName), bytes);
      const { href } = pathToFileURL(join(scratch.path, name));
      // Not the main module, it only loads what it needs.
      const script = `await import(${JSON.stringify(href)}); console.log(process.moduleLoadList.join('\\n'));`;
      const { stdout } = await promisify(execFile)(process.execPath, [
        '--input-type=module',
        '--eval',
        script,
      ]);
      const loaded = stdout.split('\n');
      expect(loaded).toContain('NativeModule https');
      expect(loaded).not.toContain('NativeModule internal/deps/undici/undici');
      expect(loaded).not.toContain('NativeModule http2');
    },
  );

  test('a source that does not compile is named with its line', async () => {
    const { scratch, checkout } = await layouts();
    await using _ = scratch;
    await write(checkout, { 'appliance/relay.ts': "import './gone.ts';\n" });
    await expect(compileAppliance(checkout)).rejects.toThrow(/appliance\/relay\.ts:1:\d+: ERROR/);
  });
});
