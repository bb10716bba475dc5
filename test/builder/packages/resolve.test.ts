import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../../appliance/base/errors.ts';
import { readPackageStanzas } from '../../../builder/packages/package-records.ts';
import { type ResolveRequest, resolvePackages } from '../../../builder/packages/resolve.ts';
import { PackageUniverse } from '../../../builder/packages/universe.ts';

interface Described {
  readonly suite?: string;
  readonly fields?: Readonly<Record<string, string>>;
}

/** `'a 1.0'` with its fields. Packages of a suite called `backports` are not automatic. */
async function universeOf(packages: Readonly<Record<string, Described>>): Promise<PackageUniverse> {
  const universe = new PackageUniverse('amd64');
  for (const [title, { suite = 'main', fields = {} }] of Object.entries(packages)) {
    const [name = '', version = ''] = title.split(' ');
    const all = {
      Package: name,
      Version: version,
      Architecture: 'amd64',
      Filename: `pool/${name}_${version}.deb`,
      Size: '1',
      SHA256: 'a'.repeat(64),
      ...fields,
    };
    const text = Object.entries(all)
      .map(([field, value]) => `${field}: ${value}\n`)
      .join('');
    for await (const stanza of readPackageStanzas(inChunks(text), 'Packages')) {
      universe.add(stanza, suite, suite !== 'backports');
    }
  }
  return universe;
}

async function* inChunks(text: string): AsyncGenerator<Uint8Array> {
  yield new TextEncoder().encode(text);
}

const needs = (depends: string, more: Readonly<Record<string, string>> = {}): Described => ({
  fields: { Depends: depends, ...more },
});

async function resolve(packages: Readonly<Record<string, Described>>, request: Partial<ResolveRequest>) {
  return resolvePackages(await universeOf(packages), { wanted: [], alone: [], excludes: {}, ...request });
}

async function namesOf(packages: Readonly<Record<string, Described>>, request: Partial<ResolveRequest>) {
  const { packages: found } = await resolve(packages, request);
  return found.map(({ record }) => `${record.name} ${record.version}`);
}

describe('resolvePackages', () => {
  test('follows Depends and Pre-Depends to the end, and no other field', async () => {
    const packages = {
      'a 1': needs('b, c (>= 2)', { Recommends: 'x', Suggests: 'x' }),
      'b 1': { fields: { 'Pre-Depends': 'd' } },
      'c 2': needs('a'),
      'd 1': {},
      'x 1': {},
    };
    expect(await namesOf(packages, { wanted: ['a'] })).toEqual(['a 1', 'b 1', 'c 2', 'd 1']);
  });

  test('takes the newest version over all suites', async () => {
    const packages = {
      'a 1.0-1': { suite: 'main' },
      'a 1.0-1+deb13u1': { suite: 'security' },
      'a 1.0-1~rc1': { suite: 'updates' },
    };
    expect(await namesOf(packages, { wanted: ['a'] })).toEqual(['a 1.0-1+deb13u1']);
  });

  test('takes backports only when asked for, or when nothing else will do', async () => {
    const packages = {
      'kernel 6': {},
      'kernel 7': { suite: 'backports', ...needs('modules (= 7), tool (>= 2)') },
      'modules 7': { suite: 'backports' },
      'tool 1': {},
      'tool 2': { suite: 'backports' },
      'tool 3': { suite: 'backports' },
      'app 1': needs('kernel'),
    };
    expect(await namesOf(packages, { wanted: ['app'] })).toEqual(['app 1', 'kernel 6']);
    expect(await namesOf(packages, { wanted: ['kernel/backports'] })).toEqual([
      'kernel 7',
      'modules 7',
      'tool 3',
    ]);
  });

  test('begins again when a choice turns out too old', async () => {
    const packages = {
      'a 1': needs('lib, z'),
      'lib 1': {},
      'lib 2': { suite: 'backports' },
      'z 1': needs('lib (>= 2)'),
    };
    expect(await namesOf(packages, { wanted: ['a'] })).toEqual(['a 1', 'lib 2', 'z 1']);
  });

  test('keeps to an older version where a constraint says so', async () => {
    const packages = {
      'a 1': needs('lib'),
      'b 1': needs('lib (<< 2)'),
      'lib 1': {},
      'lib 2': { suite: 'updates' },
    };
    expect(await namesOf(packages, { wanted: ['a', 'b'] })).toEqual(['a 1', 'b 1', 'lib 1']);
  });

  test('takes the first alternative that there is, unless another is already there', async () => {
    const packages = { 'a 1': needs('missing | b | c'), 'b 1': {}, 'c 1': {} };
    expect(await namesOf(packages, { wanted: ['a'] })).toEqual(['a 1', 'b 1']);
    expect(await namesOf(packages, { wanted: ['a', 'c'] })).toEqual(['a 1', 'c 1']);
  });

  test('satisfies virtual packages by what provides them: what is there, by priority, by name', async () => {
    const packages = {
      'a 1': needs('mta'),
      'exim 1': { fields: { Provides: 'x, mta' } },
      'postfix 1': { fields: { Provides: 'mta, y (= 3)' } },
      'zz 1': { fields: { Provides: 'mta', Priority: 'important' } },
    };
    expect(await namesOf(packages, { wanted: ['a', 'postfix'] })).toEqual(['a 1', 'postfix 1']);
    expect(await namesOf(packages, { wanted: ['a'] })).toEqual(['a 1', 'zz 1']);
  });

  test('a constraint is only satisfied by a versioned provide', async () => {
    const packages = {
      'a 1': needs('api (>= 3)'),
      'old 9': { fields: { Provides: 'api' } },
      'older 9': { fields: { Provides: 'api (= 2)' } },
      'right 9': { fields: { Provides: 'api (= 3.1)' } },
    };
    expect(await namesOf(packages, { wanted: ['a'] })).toEqual(['a 1', 'right 9']);
  });

  test('takes :any and :native for its own architecture, and no other', async () => {
    const packages = { 'a 1': needs('perl:any, b:native, c:amd64'), 'b 1': {}, 'c 1': {}, 'perl 5': {} };
    expect(await namesOf(packages, { wanted: ['a'] })).toEqual(['a 1', 'b 1', 'c 1', 'perl 5']);
    await expect(resolve({ 'a 1': needs('b:i386'), 'b 1': {} }, { wanted: ['a'] })).rejects.toThrow(/b:i386/);
  });

  test('excluded packages satisfy what needs them, and are reported with who does', async () => {
    const packages = {
      'a 1': needs('perl (>= 99), debconf | debconf-2.0, b'),
      'b 1': needs('perl, perlapi-5'),
      'perl 5': { fields: { Provides: 'perlapi-5', Depends: 'libperl' } },
    };
    const { packages: found, ...report } = await resolve(packages, {
      wanted: ['a'],
      excludes: { perl: 'no scripts', debconf: 'no questions', unused: 'who knows' },
    });
    expect(found.map(({ record }) => record.name)).toEqual(['a', 'b']);
    expect(report).toEqual({
      alone: [],
      excluded: [
        { name: 'debconf', reason: 'no questions', wantedBy: ['a'] },
        { name: 'perl', reason: 'no scripts', wantedBy: ['a', 'b'] },
      ],
      unusedExcludes: ['unused'],
    });
  });

  test('an excluded alternative counts as present, before another is brought in', async () => {
    const packages = { 'kernel 1': needs('dracut | initramfs-tool'), 'dracut 1': {} };
    const request = { wanted: ['kernel'], excludes: { 'initramfs-tool': 'we make our own' } };
    expect(await namesOf(packages, request)).toEqual(['kernel 1']);
  });

  test('takes packages alone without what they depend on', async () => {
    const { alone, packages } = await resolve(
      { 'shim 1': needs('grub, missing'), 'a 1': {} },
      { wanted: ['a'], alone: ['shim'] },
    );
    expect(alone.map(({ record }) => record.name)).toEqual(['shim']);
    expect(packages.map(({ record }) => record.name)).toEqual(['a']);
  });

  test('a wish that is also excluded is the request’s fault', async () => {
    await expect(resolve({ 'a 1': {} }, { wanted: ['a'], excludes: { a: 'why' } })).rejects.toThrow(
      ConfigError,
    );
  });

  const failures: readonly [string, Readonly<Record<string, Described>>, RegExp][] = [
    ['a wanted package that no suite has', { 'b 1': {} }, /package a is wanted, but no suite has it/],
    [
      'a dependency that no suite has, with the chain to it',
      { 'a 1': needs('b'), 'b 1': needs('c'), 'c 1': needs('d (>= 2) | e') },
      /a → b → c needs d \(>= 2\) \| e, which nothing satisfies; there is no package d; there is no package e/,
    ],
    [
      'a version that no suite has, with those it has',
      { 'a 1': needs('b (>= 2)'), 'b 1.9': {}, 'b 1.8': { suite: 'old' } },
      /a needs b \(>= 2\), which nothing satisfies; of b there is 1\.9 in main, 1\.8 in old/,
    ],
    [
      'two packages that conflict',
      { 'a 1': needs('b, c'), 'b 1': { fields: { Conflicts: 'c (<< 2)' } }, 'c 1': {} },
      /a → b cannot be together with a → c 1: it conflicts with c \(<< 2\)/,
    ],
    [
      'two packages that need different versions of a third',
      { 'a 1': needs('b, c'), 'b 1': needs('d (= 1)'), 'c 1': needs('d (= 2)'), 'd 1': {}, 'd 2': {} },
      /needs d \(= [12]\), which nothing satisfies/,
    ],
  ];
  test.each(failures)('says so: %s', async (_, packages, message) => {
    await expect(resolve(packages, { wanted: ['a'] })).rejects.toThrow(message);
  });

  test('a package does not conflict with what it provides itself', async () => {
    const postfix = { fields: { Provides: 'mta', Conflicts: 'mta' } };
    expect(await namesOf({ 'postfix 1': postfix }, { wanted: ['postfix'] })).toEqual(['postfix 1']);
  });

  test('gives the same set in whatever order wishes come', async () => {
    const packages = {
      'a 1': needs('x | y'),
      'b 1': needs('y | x'),
      'c 1': needs('v'),
      'x 1': { fields: { Provides: 'v' } },
      'y 1': { fields: { Provides: 'v' } },
    };
    const expected = await namesOf(packages, { wanted: ['a', 'b', 'c'] });
    await fc.assert(
      fc.asyncProperty(fc.shuffledSubarray(['a', 'b', 'c'], { minLength: 3 }), async (wanted) => {
        expect(await namesOf(packages, { wanted })).toEqual(expected);
      }),
      { numRuns: 20 },
    );
  });
});
