import { describe, expect, test } from 'vitest';
import { bytesContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import { assembleRoot, ownDirectory, ownFile, ownLink } from '../../../builder/rootfs/assemble.ts';

const nothing = { dropped: [], kept: [] };
const file = (path: string, mtimeSec = 5): TreeEntry =>
  ownFile(path, bytesContent(new Uint8Array(1)), mtimeSec);
const layer = (origin: string, ...entries: TreeEntry[]) => ({ origin, entries, filtered: true });
const pathsOf = (tree: readonly TreeEntry[]) => tree.map(({ path }) => path);

describe('assembleRoot', () => {
  test('moves what old packages put into /bin, /sbin and /lib below /usr and leaves links', () => {
    const tree = assembleRoot(
      nothing,
      [layer('a', ownDirectory('bin', 1), file('bin/sh'), file('lib/x.so')), layer('b', file('usr/bin/env'))],
      10,
    );
    expect(pathsOf(tree)).toEqual([
      '',
      'bin',
      'lib',
      'lib64',
      'sbin',
      'usr',
      'usr/bin',
      'usr/bin/env',
      'usr/bin/sh',
      'usr/lib',
      'usr/lib/x.so',
    ]);
    expect(tree.find(({ path }) => path === 'bin')).toMatchObject({ kind: 'symlink', target: 'usr/bin' });
  });

  test('follows hard links through the same move', () => {
    const link: TreeEntry = {
      ...ownFile('bin/b', bytesContent(new Uint8Array()), 1),
      kind: 'hardlink',
      target: 'bin/a',
    };
    const tree = assembleRoot(nothing, [layer('a', file('bin/a'), link)], 10);
    expect(tree.find(({ path }) => path === 'usr/bin/b')).toMatchObject({
      kind: 'hardlink',
      target: 'usr/bin/a',
    });
  });

  test('refuses two packages with one path, naming both', () => {
    expect(() =>
      assembleRoot(nothing, [layer('one', file('usr/x')), layer('two', file('usr/x'))], 10),
    ).toThrow('Both one and two bring /usr/x');
  });

  test('lets packages share directories and equal links', () => {
    const entries = [ownDirectory('usr/share', 1), ownLink('usr/l', 'm', 1)];
    expect(pathsOf(assembleRoot(nothing, [layer('a', ...entries), layer('b', ...entries)], 10))).toContain(
      'usr/l',
    );
  });

  test('drops what the target names, but not its exceptions and not what is ours', () => {
    const target = { dropped: ['usr/share/doc', 'etc/x'], kept: [/\/copyright$/] };
    const tree = assembleRoot(
      target,
      [
        layer(
          'a',
          file('usr/share/doc/a/NEWS'),
          file('usr/share/doc/a/copyright'),
          file('etc/xy'),
          file('etc/x'),
        ),
        { origin: 'ours', entries: [file('etc/x')], filtered: false },
      ],
      10,
    );
    expect(pathsOf(tree)).toEqual(
      expect.arrayContaining(['usr/share/doc/a', 'usr/share/doc/a/copyright', 'etc/xy', 'etc/x']),
    );
    expect(pathsOf(tree)).not.toContain('usr/share/doc/a/NEWS');
  });

  test('has no file from after the newest package', () => {
    const tree = assembleRoot(nothing, [layer('a', file('usr/x', 99), file('usr/y', 3))], 10);
    expect(tree.find(({ path }) => path === 'usr/x')?.mtimeSec).toBe(10);
    expect(tree.find(({ path }) => path === 'usr/y')?.mtimeSec).toBe(3);
  });
});
