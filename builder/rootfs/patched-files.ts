/**
 * The few files of packages that do not go into the root as they are. Each change is guarded by the shape
 * it expects, and named in the bill of materials.
 */
import type { Target } from '../../images/target.ts';
import { type Content, readContent, type TreeEntry } from '../formats/tree.ts';
import { stripElf } from '../formats/elf-strip.ts';
import { emptyIcuData, icuDataLibrary } from './icu-data.ts';
import { notifyDelayLibrary, shortenNotifyDelay } from './notify-delay.ts';

interface Patch {
  /** Raised when `apply` changes, so that no cache serves the old result. */
  readonly version: string;
  readonly isFor: (path: string) => boolean;
  readonly apply: (bytes: Uint8Array, architecture: Target['architecture']) => Uint8Array;
  /** Package it changes, and what a reader of the bill of materials should know. */
  readonly packageName: RegExp;
  readonly note: string;
}

const patches: readonly Patch[] = [
  {
    version: 'notify-delay 1',
    isFor: (path) => path === notifyDelayLibrary,
    apply: shortenNotifyDelay,
    packageName: /^dovecot-core$/,
    note: 'changed: new mail is announced after 1 ms instead of 500 ms (NOTIFY_DELAY_MSECS)',
  },
  {
    version: 'icu-data 1',
    isFor: (path) => icuDataLibrary.test(path),
    apply: emptyIcuData,
    packageName: /^libicu\d+$/,
    note: 'changed: the locale data is emptied, since internationalised addresses are off',
  },
  {
    version: 'strip 1',
    isFor: (path) => path === 'usr/bin/node',
    apply: stripElf,
    packageName: /^node-linux-/,
    note: 'Node.js, changed: symbol tables are left out',
  },
];

/** Larger than any program: a bound for holding one in memory. */
const maxPatchedBytes = 512 * 1024 * 1024;

/** What was changed in a package, or undefined. */
export function patchNote(packageName: string): string | undefined {
  return patches.find((patch) => patch.packageName.test(packageName))?.note;
}

/** The entry as it goes into the root: itself, or with changed content. */
export async function patched(
  entry: TreeEntry,
  architecture: Target['architecture'],
  signal: AbortSignal,
): Promise<TreeEntry> {
  const patch = entry.kind === 'file' ? patches.find(({ isFor }) => isFor(entry.path)) : undefined;
  if (patch === undefined || entry.kind !== 'file') return entry;
  const { content } = entry;
  const bytes = await readContent(content, maxPatchedBytes, signal);
  const changed = patch.apply(bytes, architecture);
  const result: Content = {
    sizeBytes: changed.length,
    ...(content.digest === undefined ? {} : { digest: `${patch.version} ${architecture} ${content.digest}` }),
    // Read again when wanted, rather than held: Node alone has 108 MB, and a warm build never asks.
    async *read(own) {
      yield patch.apply(await readContent(content, maxPatchedBytes, own), architecture);
    },
  };
  return { ...entry, content: result };
}
