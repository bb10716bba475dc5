/** What an image's bill of materials lists: every Debian package, Node, and the npm packages in our bundles. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Lock } from '../packages/lockfile.ts';
import type { BundledPackage } from './compile-appliance.ts';
import { patchNote } from './patched-files.ts';
import { renderSbom, type SbomComponent, type SbomSubject } from './sbom.ts';

const manifestSchema = v.object({ version: v.string(), license: v.optional(v.string()) });

/**
 * The document's text.
 * @param npmPackages the packages that esbuild took into the bundles
 */
export async function imageSbom(
  subject: SbomSubject,
  lock: Lock,
  npmPackages: readonly BundledPackage[],
): Promise<string> {
  const debian = [...lock.packages, ...lock.alone].map(
    ({ name, version, architecture, source, sourceVersion, sha256 }): SbomComponent => ({
      ecosystem: 'deb',
      name,
      version,
      architecture,
      sha256,
      ...noteOf(name),
      ...(source === name && sourceVersion === version
        ? {}
        : { source: { name: source, version: sourceVersion } }),
    }),
  );
  const node = lock.npm.map(({ name, version }): SbomComponent => ({
    ecosystem: 'npm',
    name,
    version,
    license: 'MIT',
    note: 'Node.js; its symbol tables are left out',
  }));
  const bundled = await Promise.all(
    npmPackages.map(async ({ name, directory }): Promise<SbomComponent> => {
      const text = await readFile(join(directory, 'package.json'), 'utf8');
      const { version, license } = v.parse(manifestSchema, JSON.parse(text));
      return { ecosystem: 'npm', name, version, ...(license === undefined ? {} : { license }) };
    }),
  );
  return renderSbom(subject, [...debian, ...node, ...bundled]);
}

function noteOf(name: string): { note: string } | undefined {
  const note = patchNote(name);
  return note === undefined ? undefined : { note };
}
