import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { isPlainPath, parseRecord, readPackageStanzas } from '../../../builder/packages/package-records.ts';

const index = `Package: libc6
Source: glibc (2.41-12)
Version: 2.41-12+b1
Installed-Size: 12991
Architecture: amd64
Replaces: libc6-amd64
Provides: libc6-2.41,
 libc6-x
Depends: libgcc-s1
Pre-Depends: x
Description: GNU C Library: with a colon
 Depends: not a field
 .
 Größe
Tag: role::shared-lib
Filename: pool/main/g/glibc/libc6_2.41-12+b1_amd64.deb
Size: 2846580
SHA256: ${'0a'.repeat(32)}


Package: tiny
Version: 1
Architecture: all
Filename: pool/t.deb
Size: 1
SHA256: ${'0b'.repeat(32)}
`;

async function* inChunks(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(text: string, size = 1 << 16) {
  const records = [];
  for await (const stanza of readPackageStanzas(inChunks(text, size), 'Packages')) {
    records.push(parseRecord(stanza));
  }
  return records;
}

describe('readPackageStanzas and parseRecord', () => {
  test('read what the resolver and the bill of materials need', async () => {
    expect(await read(index)).toEqual([
      {
        name: 'libc6',
        version: '2.41-12+b1',
        architecture: 'amd64',
        source: 'glibc',
        sourceVersion: '2.41-12',
        filename: 'pool/main/g/glibc/libc6_2.41-12+b1_amd64.deb',
        sizeBytes: 2846580,
        sha256: '0a'.repeat(32),
        installedBytes: 12991 * 1024,
        priority: '',
        preDepends: 'x',
        depends: 'libgcc-s1',
        provides: 'libc6-2.41, libc6-x',
        conflicts: '',
        breaks: '',
      },
      expect.objectContaining({ name: 'tiny', source: 'tiny', sourceVersion: '1', installedBytes: 0 }),
    ]);
  });

  test.each([1, 2, 3, 7, 64, 511])('the same in chunks of %i bytes', async (size) => {
    expect(await read(index, size)).toEqual(await read(index));
  });

  test('with or without a line feed at the end, and with nothing at all', async () => {
    expect(await read(index.trimEnd())).toEqual(await read(`${index}\n\n`));
    expect(await read('')).toEqual([]);
    expect(await read('\n\n\n')).toEqual([]);
  });

  const broken: readonly [string, RegExp, RegExp][] = [
    ['no Package', /^Package: tiny\n/m, /stanza without Package \(number 2\)/],
    ['no Version', /^Version: 1\n/m, /tiny has no Version/],
    ['no Filename', /^Filename: pool\/t.deb\n/m, /tiny has no Filename/],
    ['no digest', /^SHA256: (0b)+\n/m, /tiny has no SHA256/],
  ];
  test.each(broken)('refuse a stanza with %s', async (_, line, message) => {
    await expect(read(index.replace(line, ''))).rejects.toThrow(message);
  });

  test.each([
    ['Filename: pool/t.deb', 'Filename: ../../etc/passwd'],
    ['Filename: pool/t.deb', 'Filename: /etc/passwd'],
    ['Filename: pool/t.deb', 'Filename: http://example.org/x'],
    ['Size: 1\n', 'Size: -1\n'],
    ['Size: 1\n', 'Size: 1e9\n'],
    ['Package: tiny', 'Package: Tiny'],
    ['Version: 1', 'Version: 1/../2'],
    ['SHA256: 0b', 'SHA256: 0B'],
  ])('refuse %j made %j', async (from, to) => {
    const at = index.lastIndexOf(from);
    await expect(read(index.slice(0, at) + to + index.slice(at + from.length))).rejects.toThrow(
      ProtocolError,
    );
  });

  test('refuse a stanza without end before it fills the memory', async () => {
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) yield Buffer.alloc(65_536, 'x');
    }
    await expect(readPackageStanzas(endless(), 'Packages').next()).rejects.toThrow(
      /Packages has a stanza of more than 1048576 bytes/,
    );
  });
});

describe('isPlainPath', () => {
  test.each(['pool/a_1%3a2.deb', 'pool/main/libs/libstdc++6_14~1.deb'])('takes %s', (path) => {
    expect(isPlainPath(path)).toBe(true);
  });
  test.each(['', '/a', 'a/', 'a//b', 'a/../b', './a', 'a\\b', 'a b', 'a\0b', 'a'.repeat(600)])(
    'refuses %j',
    (path) => {
      expect(isPlainPath(path)).toBe(false);
    },
  );
});
