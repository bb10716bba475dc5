/** Trees with one of everything, for the tests of the writers. */
import { bytesContent, textContent, type TreeEntry } from '../../../builder/formats/tree.ts';

const common = { uid: 0, gid: 0, mtimeSec: 1_700_000_000 };

/** One of each kind, with odd owners, modes, names and links in both directions of the order. */
export const sampleTree: readonly TreeEntry[] = [
  { ...common, path: '', kind: 'directory', mode: 0o755 },
  { ...common, path: 'a-first', kind: 'hardlink', mode: 0, target: 'bin/tool' },
  { ...common, path: 'bin', kind: 'directory', mode: 0o755 },
  { ...common, path: 'bin/tool', kind: 'file', mode: 0o4755, content: textContent('#!/bin/sh\nexit 0\n') },
  { ...common, path: 'bin/zz', kind: 'hardlink', mode: 0, target: 'a-first' },
  { ...common, path: 'dev', kind: 'directory', mode: 0o755 },
  { ...common, path: 'dev/console', kind: 'character', mode: 0o600, major: 5, minor: 1 },
  { ...common, path: 'dev/nvme9n1', kind: 'block', mode: 0o660, gid: 6, major: 259, minor: 70_000 },
  { ...common, path: 'empty', kind: 'file', mode: 0o644, content: bytesContent(new Uint8Array(0)) },
  { ...common, path: 'pipe', kind: 'fifo', mode: 0o620, uid: 1000, gid: 100_000 },
  { ...common, path: 'private', kind: 'directory', mode: 0o700, uid: 4_000_000_000, gid: 1 },
  {
    ...common,
    path: 'private/odd',
    kind: 'file',
    mode: 0o2640,
    uid: 7,
    content: textContent('odd'),
    mtimeSec: 1,
  },
  { ...common, path: 'socket', kind: 'socket', mode: 0o666 },
  { ...common, path: 'sub-dir', kind: 'directory', mode: 0o755 },
  { ...common, path: 'sub', kind: 'directory', mode: 0o1777 },
  { ...common, path: 'sub/größe €.txt', kind: 'file', mode: 0o644, content: textContent('ünïcode') },
  { ...common, path: 'sub/link', kind: 'symlink', mode: 0o777, target: '../bin/tool' },
  { ...common, path: 'sub/link too', kind: 'hardlink', mode: 0, target: 'sub/link' },
  { ...common, path: `sub/${'n'.repeat(255)}`, kind: 'file', mode: 0o600, content: textContent('long name') },
];

export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(chunks));
}
