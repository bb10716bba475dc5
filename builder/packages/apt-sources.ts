/**
 * The apt sources of the operator's machine (sources.list(5)), in the one-line and the deb822 format: a
 * Debian machine already knows a mirror that is near and allowed.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ProtocolError, systemCode } from '../../appliance/base/errors.ts';
import { parseControlFile } from './control-file.ts';
import { compareText } from './universe.ts';

export interface AptSource {
  readonly uri: string;
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** A key file, or an embedded key; apt's default keyring when undefined. */
  readonly signedBy: string | undefined;
}

/** Sources of a person's machine: a few lines. */
const maxFileBytes = 256 * 1024;

/** Reads `sources.list` and `sources.list.d/`; empty where there is none, or none that can be read. */
export async function readAptSources(directory = '/etc/apt'): Promise<readonly AptSource[]> {
  const parts = join(directory, 'sources.list.d');
  const names = await readdir(parts).catch(ifMissing([]));
  const sources: AptSource[] = [];
  for (const path of [
    join(directory, 'sources.list'),
    ...names.toSorted(compareText).map((name) => join(parts, name)),
  ]) {
    if (!path.endsWith('.list') && !path.endsWith('.sources')) continue;
    const text = await readFile(path, 'utf8').catch(ifMissing(''));
    if (text.length > maxFileBytes) continue;
    sources.push(...(path.endsWith('.list') ? parseSourcesList(text) : parseSourcesStanzas(text)));
  }
  return sources;
}

/** Sources are a hint: one that cannot be read is not used. */
function ifMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'EACCES' || code === 'ENOTDIR' || code === 'EISDIR') return value;
    throw error;
  };
}

/** `deb [arch=amd64 signed-by=/path] uri suite component…`; other lines are passed over. */
export function parseSourcesList(text: string): readonly AptSource[] {
  const sources: AptSource[] = [];
  for (const line of text.split(/\r?\n/)) {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)$/.exec(line.replace(/#.*$/, ''));
    if (match === null) continue;
    const [, options = '', uri = '', suite = '', components = ''] = match;
    sources.push({
      uri,
      suites: [suite],
      components: words(components),
      signedBy: /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1],
    });
  }
  return sources;
}

/** Stanzas with Types, URIs, Suites, Components; one that is malformed or disabled yields nothing. */
export function parseSourcesStanzas(text: string): readonly AptSource[] {
  try {
    return parseControlFile(text)
      .filter((stanza) => words(stanza.get('types')).includes('deb'))
      .filter((stanza) => !/^(no|false|0|off|without|disable)$/i.test(stanza.get('enabled') ?? 'yes'))
      .flatMap((stanza) =>
        words(stanza.get('uris')).map((uri) => ({
          uri,
          suites: words(stanza.get('suites')),
          components: words(stanza.get('components')),
          signedBy: stanza.get('signed-by'),
        })),
      );
  } catch (error) {
    if (error instanceof ProtocolError) return [];
    throw error;
  }
}

function words(text: string | undefined): readonly string[] {
  return (text ?? '').split(/\s+/).filter((word) => word !== '');
}
