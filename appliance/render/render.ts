/**
 * Configuration of the services: EJS templates and one set of locals in, files out. Pure but for reading
 * the templates.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type FileOwner, readTextIfPresent, writeFileAtomic } from '../base/atomic-file.ts';
import type { Config } from '../contract/config.ts';
import { paths } from '../contract/paths.ts';
import {
  hostnameOf,
  type Machine,
  type RenderSecrets,
  templateLocals,
  type TemplateLocals,
} from './locals.ts';

export interface RenderedFile {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
  readonly owner: FileOwner;
}

/** Folders of templates, and where what comes out of each goes. */
const targets: Readonly<Record<string, string>> = {
  postfix: paths.postfixConfig,
  dovecot: paths.dovecotConfig,
  unbound: paths.unboundConfig,
  chrony: paths.chronyConfig,
  avahi: paths.avahiConfig,
  wpa_supplicant: paths.wifiConfig,
};

/** Those that hold a secret: for root alone. */
const secretFolders: ReadonlySet<string> = new Set(['wpa_supplicant']);

/** Templates by folder and file name, without `.ejs`. */
export interface Template {
  readonly folder: string;
  readonly name: string;
  readonly source: string;
}

/** Reads every `*.ejs` of the folders above. */
export async function readTemplates(directory: string): Promise<readonly Template[]> {
  const found = await Promise.all(
    Object.keys(targets).map(async (folder) => {
      const names = (await readdir(join(directory, folder))).filter((name) => name.endsWith('.ejs'));
      return Promise.all(
        names.toSorted().map(async (name) => ({
          folder,
          name: basename(name, '.ejs'),
          source: await readFile(join(directory, folder, name), 'utf8'),
        })),
      );
    }),
  );
  return found.flat();
}

/**
 * Everything that is rendered at boot.
 * @throws Error with the template's name when it refers to something there is not
 */
export async function renderConfiguration(
  config: Config,
  machine: Machine,
  templates: readonly Template[],
  secrets: RenderSecrets = {},
): Promise<readonly RenderedFile[]> {
  const { default: ejs } = await import('ejs');
  const locals: TemplateLocals = templateLocals(config, machine, secrets);
  const root = { uid: 0, gid: 0 };
  // Its presence tells that Wi-Fi can be used (net/network.ts).
  const isWanted = ({ folder }: Template) => folder !== 'wpa_supplicant' || locals.wifi !== undefined;
  const rendered = templates.filter(isWanted).map(({ folder, name, source }) => ({
    path: join(targets[folder] ?? '/run', name),
    text: ejs.render(source, locals, { filename: `${folder}/${name}`, rmWhitespace: false, async: false }),
    mode: secretFolders.has(folder) ? 0o600 : 0o644,
    owner: root,
  }));
  const hostname = hostnameOf(config);
  const plain = (path: string, text: string): RenderedFile => ({ path, text, mode: 0o644, owner: root });
  return [
    ...rendered,
    plain(paths.hosts, `127.0.0.1 localhost\n::1 localhost\n127.0.1.1 ${hostname}\n`),
    plain(paths.hostname, `${hostname}\n`),
  ];
}

/**
 * Postfix does not trust a main.cf that was changed within the last two seconds: it may still be being
 * written, so every program waits (dict_load_file_xt). Ours are complete when they appear, and look old.
 */
const longAgo = new Date(Date.UTC(2000, 0, 1));

/** Writes what has changed. On tmpfs: nothing is flushed. */
export async function writeRendered(files: readonly RenderedFile[]): Promise<void> {
  for (const { path, text, mode, owner } of files) {
    if ((await readTextIfPresent(path)) === text) continue;
    await writeFileAtomic(path, text, { mode, owner, flush: false, modified: longAgo });
  }
}
