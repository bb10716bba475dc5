import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..');

interface Import {
  /** Paths relative to the repository, `/`-separated. */
  readonly from: string;
  readonly to: string;
}

function sourceFiles(directory: string): string[] {
  return readdirSync(join(root, directory), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll('\\', '/'));
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']*)'/g)].map((match) => ({
    from: file,
    to: relative(root, resolve(root, dirname(file), match[1] ?? '')).replaceAll('\\', '/'),
  }));
}

const files = ['appliance', 'builder', 'images'].flatMap(sourceFiles);
const imports = files.flatMap(importsOf);
const within = (path: string, ...folders: string[]) =>
  folders.some((folder) => path.startsWith(`${folder}/`));
/** Imports that break a rule, as lines a person can go to. */
const offenders = (rule: (one: Import) => boolean) =>
  imports.filter(rule).map(({ from, to }) => `${from} imports ${to}`);

describe('import directions', () => {
  test('the appliance never imports the builder, images or tests', () => {
    expect(offenders(({ from, to }) => within(from, 'appliance') && !within(to, 'appliance'))).toEqual([]);
  });

  test('the builder imports of the appliance only what is pure or shared', () => {
    const allowed = ['base', 'contract', 'disk', 'dns', 'render'].map((name) => `appliance/${name}`);
    expect(
      offenders(
        ({ from, to }) => within(from, 'builder') && within(to, 'appliance') && !within(to, ...allowed),
      ),
    ).toEqual([]);
  });

  test('image formats know nothing of the product', () => {
    expect(
      offenders(
        ({ from, to }) =>
          within(from, 'builder/formats') &&
          !within(to, 'builder/formats') &&
          to !== 'appliance/base/errors.ts',
      ),
    ).toEqual([]);
  });

  test('images are data', () => {
    expect(offenders(({ from, to }) => within(from, 'images') && !within(to, 'images'))).toEqual([]);
  });

  test('contract and base import nothing above them', () => {
    expect(
      offenders(({ from, to }) => within(from, 'appliance/base') && !within(to, 'appliance/base')),
    ).toEqual([]);
    expect(
      offenders(
        ({ from, to }) =>
          within(from, 'appliance/contract') && !within(to, 'appliance/contract', 'appliance/base'),
      ),
    ).toEqual([]);
  });

  test('contract does no input or output', () => {
    const touching = sourceFiles('appliance/contract').filter((file) =>
      /from 'node:(fs|child_process|http|https|dgram|fs\/promises|dns)/.test(
        readFileSync(join(root, file), 'utf8'),
      ),
    );
    expect(touching).toEqual([]);
  });

  test('services of the appliance never import one another: entry points hand them what they need', () => {
    const services = [
      'milter',
      'dovecot-auth',
      'dovecot-dict',
      'push',
      'transport',
      'tls-report',
      'tls-mux',
      'http',
      'mxdeliv',
      'acme',
      'web',
      'manage',
      'metrics',
      'supervise',
      'console',
      'net',
      'clock',
      'boot',
      'update',
    ].map((name) => `appliance/${name}`);
    const serviceOf = (path: string) => services.find((folder) => within(path, folder));
    expect(
      offenders(({ from, to }) => {
        const [one, other] = [serviceOf(from), serviceOf(to)];
        return one !== undefined && other !== undefined && one !== other;
      }),
    ).toEqual([]);
  });
});
