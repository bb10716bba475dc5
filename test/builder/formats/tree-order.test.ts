import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { textContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import { orderTree } from '../../../builder/formats/tree-order.ts';
import { sampleTree } from './sample-tree.ts';

const common = { uid: 0, gid: 0, mtimeSec: 0, mode: 0o644 };
const file = (path: string): TreeEntry => ({ ...common, path, kind: 'file', content: textContent(path) });
const directory = (path: string): TreeEntry => ({ ...common, path, kind: 'directory' });
const hardlink = (path: string, target: string): TreeEntry => ({ ...common, path, kind: 'hardlink', target });

describe('orderTree', () => {
  test('any order of the entries gives the same result', () => {
    const expected = orderTree(sampleTree);
    fc.assert(
      fc.property(fc.shuffledSubarray([...sampleTree], { minLength: sampleTree.length }), (shuffled) => {
        expect(orderTree(shuffled)).toEqual(expected);
      }),
    );
  });

  test('sorts by bytes, not by UTF-16 units', () => {
    const names = orderTree([file('\u{1f600}'), file('\uffee'), file('z')]).map(({ path }) => path);
    expect(names).toEqual(['z', '\uffee', '\u{1f600}']);
  });

  test('names of one inode share it, through chains of links', () => {
    const names = orderTree([hardlink('a', 'b'), hardlink('b', 'c'), file('c')]);
    expect(new Set(names.map(({ inode }) => inode)).size).toBe(1);
    expect(names[0]?.inode.paths).toEqual(['a', 'b', 'c']);
  });

  test.each<[string, TreeEntry[], string]>([
    ['a path twice', [file('a'), directory('a')], '"a" is there twice'],
    ['a missing parent', [file('a/b')], '"a/b" is below "a", which is not in the tree'],
    ['a file as parent', [file('a'), file('a/b')], '"a/b" is below "a", which is a file'],
    ['a link to nothing', [hardlink('a', 'b')], '"a" is a hard link to "b", which is not in the tree'],
    ['a link to a directory', [hardlink('a', 'b'), directory('b')], 'which is a directory'],
    ['a circle of links', [hardlink('a', 'b'), hardlink('b', 'a')], 'hard link to itself'],
    ['a dot-dot', [directory('a'), file('a/..')], 'empty, "." or ".." part'],
    ['an absolute path', [file('/a')], 'empty, "." or ".." part'],
    ['a slash at the end', [directory('a/')], 'empty, "." or ".." part'],
    ['a NUL', [file('a\0b')], 'has a NUL'],
    ['half a character', [file('a\ud800')], 'well-formed'],
    ['a long name', [file('ä'.repeat(128))], 'more than 255 bytes'],
    ['a long path', [file(Array.from({ length: 2048 }, () => 'a').join('/') + '/b')], 'more than 4095 bytes'],
    ['a root that is a file', [file('')], 'is the root and a file'],
    ['an empty link target', [{ ...common, path: 'a', kind: 'symlink', target: '' }], 'link target'],
    ['a mode out of range', [{ ...file('a'), mode: 0o100644 }], 'has mode 33188'],
    ['a negative uid', [{ ...file('a'), uid: -1 }], 'has uid -1'],
    ['a wide gid', [{ ...file('a'), gid: 2 ** 32 }], 'has gid 4294967296'],
    ['half a second', [{ ...file('a'), mtimeSec: 0.5 }], 'has mtime 0.5'],
    ['a wide device', [{ ...common, path: 'a', kind: 'block', major: 4096, minor: 0 }], 'device major 4096'],
  ])('%s is refused', (_, entries, message) => {
    expect(() => orderTree(entries)).toThrow(RangeError);
    expect(() => orderTree(entries)).toThrow(message);
  });
});
