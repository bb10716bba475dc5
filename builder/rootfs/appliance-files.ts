/** Our own programs and texts in the root: what the checkout's appliance/ and templates/ become on the device. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { paths } from '../../appliance/contract/paths.ts';
import { bytesContent, type Content, type TreeEntry } from '../formats/tree.ts';
import { ownFile } from './assemble.ts';
import type { CompiledAppliance } from './compile-appliance.ts';

/** Folders of templates/ whose files are used as they are, beside the programs. */
const scripts = ['init', 'network'];

/** Folders of templates/ that the builder uses itself and the device does not need. */
const builderOnly = ['boot', 'dns', 'initramfs'];

/** The compiled programs and the templates they render. */
export async function applianceFiles({
  appliance,
  sourceDirectory,
  mtimeSec,
}: {
  readonly appliance: CompiledAppliance;
  readonly sourceDirectory: string;
  readonly mtimeSec: number;
}): Promise<TreeEntry[]> {
  const directory = join(sourceDirectory, 'templates');
  const names = (await readdir(directory, { recursive: true, withFileTypes: true }))
    // Nor what editors and desktops leave in a checkout: the image would differ from machine to machine.
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.') && !entry.name.endsWith('~'))
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .filter((name) => !builderOnly.includes(name.split('/', 1)[0] ?? ''))
    .sort((one, other) => (one < other ? -1 : 1));
  const templates = await Promise.all(
    names.map(async (name) => {
      const { path, mode } = place(name);
      return ownFile(path, digested(await readFile(join(directory, name))), mtimeSec, mode);
    }),
  );
  const programs = appliance.programs.map(({ fileName, bytes }) =>
    ownFile(`${below(paths.programs)}/${fileName}`, digested(bytes), mtimeSec),
  );
  return [...programs, ...templates];
}

/** Where a file of templates/ lies in the root. */
function place(name: string): { path: string; mode: number } {
  if (name === 'init/inittab') return { path: 'etc/inittab', mode: 0o644 };
  const [folder = '', ...rest] = name.split('/');
  return scripts.includes(folder)
    ? { path: [below(paths.programs), ...rest].join('/'), mode: 0o755 }
    : { path: `${below(paths.templates)}/${name}`, mode: 0o644 };
}

function below(absolutePath: string): string {
  return absolutePath.slice(1);
}

function digested(bytes: Uint8Array): Content {
  return { ...bytesContent(bytes), digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}` };
}
