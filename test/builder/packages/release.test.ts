import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { parseControlFile } from '../../../builder/packages/control-file.ts';
import { readRelease } from '../../../builder/packages/release.ts';
import { debianSuites, selectSuites } from '../../../builder/packages/suites.ts';

const [trixie] = debianSuites;
if (trixie === undefined) throw new Error('trixie is missing');

const release = `Origin: Debian
Label: Debian
Suite: stable
Codename: trixie
Date: Sat, 12 Sep 2026 07:55:41 UTC
NotAutomatic: yes
Acquire-By-Hash: yes
Architectures: all amd64
SHA256:
 ${'0a'.repeat(32)}  1961125 contrib/Contents-all
 ${'0b'.repeat(32)}       12 main/binary-amd64/Packages
`;
const options = { suite: trixie, subject: 'InRelease of trixie', nowMs: Date.UTC(2026, 10, 1) };

describe('readRelease', () => {
  test('reads dates, flags and the list of files', () => {
    expect(readRelease(release, options)).toEqual({
      dateSec: Date.UTC(2026, 8, 12, 7, 55, 41) / 1000,
      validUntilSec: null,
      isAutomatic: false,
      hasByHash: true,
      separatesAll: true,
      files: new Map([
        ['contrib/Contents-all', { sha256: '0a'.repeat(32), sizeBytes: 1961125 }],
        ['main/binary-amd64/Packages', { sha256: '0b'.repeat(32), sizeBytes: 12 }],
      ]),
    });
  });

  test('takes the release for the same one when it has become oldstable', () => {
    expect(readRelease(release.replace('stable', 'oldstable'), options).isAutomatic).toBe(false);
  });

  test.each([
    [/^Date:.*\n/m, /Date of InRelease of trixie is no date: undefined/],
    [/Sep/, /is no date/, 'September'],
    [/UTC/, /is no date/, 'CEST'],
    [/^SHA256:[^]*/m, /has no SHA256 list/],
    [/0b0b/, /malformed line/, 'xx'],
    [/ {7}12 /, /malformed line/, ' -1 '],
    [/^Codename: trixie\n/m, /expected trixie, found \(nothing\)/],
    [/^Label: Debian$/m, /gives the field Label again/, 'Label: Debian\nLabel: x'],
    [/^Origin/, /is no field/, 'Or igin'],
  ])('refuses it with %s changed', (pattern, message, replacement = '') => {
    expect(() => readRelease(release.replace(pattern, replacement), options)).toThrow(message);
  });
});

describe('parseControlFile', () => {
  test('reads stanzas, continuation lines, comments and any line end', () => {
    const text = '# x\r\nA: 1\r\nB:\r\n two\r\n\tthree\r\n\r\n\r\nC:  c \r\n';
    expect(parseControlFile(text).map((stanza) => [...stanza])).toEqual([
      [
        ['a', '1'],
        ['b', '\ntwo\nthree'],
      ],
      [['c', 'c']],
    ]);
  });

  test.each([' starts with a blank', 'A: 1\nA: 2', 'no colon', 'A B: 1'])('refuses %j', (text) => {
    expect(() => parseControlFile(text)).toThrow(ProtocolError);
  });
});

describe('selectSuites', () => {
  test('adds the security suite', () => {
    const names = selectSuites(['trixie', 'trixie-backports'], debianSuites).map(({ name }) => name);
    expect(names).toEqual(['trixie', 'trixie-backports', 'trixie-security']);
  });

  test('says which suites there are', () => {
    expect(() => selectSuites(['sid'], debianSuites)).toThrow(/no suite "sid"/);
  });
});
