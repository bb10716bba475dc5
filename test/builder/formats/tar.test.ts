import { Readable } from 'node:stream';
import fc from 'fast-check';
import { pack } from 'tar-stream';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import { bytesSource } from '../../../builder/formats/random-access.ts';
import { indexTar, type TarLimits } from '../../../builder/formats/tar.ts';
import { readContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import { collect } from './sample-tree.ts';

interface Raw {
  readonly name?: string;
  readonly type?: string;
  readonly link?: string;
  readonly data?: string;
  readonly size?: string | Uint8Array;
  readonly uid?: string | Uint8Array;
  readonly mtime?: string | Uint8Array;
  readonly prefix?: string;
  readonly magic?: string;
  readonly checksum?: number;
}

/** A header and its data, padded; every field can be made wrong. */
function raw(entry: Raw): Buffer {
  const data = Buffer.from(entry.data ?? '');
  const block = Buffer.alloc(512 + Math.ceil(data.length / 512) * 512);
  const octal = (value: number, width: number) => value.toString(8).padStart(width - 1, '0');
  const put = (value: string | Uint8Array, at: number) => Buffer.from(value).copy(block, at);
  put(entry.name ?? 'file', 0);
  put('0100644', 100);
  put(entry.uid ?? octal(0, 8), 108);
  put(octal(0, 8), 116);
  put(entry.size ?? octal(data.length, 12), 124);
  put(entry.mtime ?? octal(1_700_000_000, 12), 136);
  put('        ', 148);
  put(entry.type ?? '0', 156);
  put(entry.link ?? '', 157);
  put(entry.magic ?? 'ustar\x0000', 257);
  put(octal(1, 8), 329);
  put(octal(3, 8), 337);
  put(entry.prefix ?? '', 345);
  const sum = entry.checksum ?? block.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  put(`${octal(sum, 7)}\0 `, 148);
  data.copy(block, 512);
  return block;
}

const endMark = Buffer.alloc(1024);
const archive = (...entries: (Raw | Buffer)[]) =>
  Buffer.concat([...entries.map((entry) => (Buffer.isBuffer(entry) ? entry : raw(entry))), endMark]);
const index = (bytes: Uint8Array, limits?: TarLimits) => indexTar(bytesSource(bytes, 'x.tar'), limits);
const paxRecord = (key: string, value: string) => {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + 1;
  while (String(length).length + rest !== length) length++;
  return `${length} ${key}=${value}\n`;
};
const pax = (records: Record<string, string>, type = 'x'): Raw => ({
  name: 'PaxHeader',
  type,
  data: Object.entries(records)
    .map(([key, value]) => paxRecord(key, value))
    .join(''),
});
async function text(entry: TreeEntry | undefined): Promise<string> {
  if (entry?.kind !== 'file') throw new Error(`Not a file: ${entry?.kind}`);
  return Buffer.from(await readContent(entry.content, 10_000)).toString();
}

describe('indexTar', () => {
  test('one of each kind', async () => {
    const entries = await index(
      archive(
        { name: './', type: '5' },
        { name: './b', data: 'hello' },
        { name: './a', type: '1', link: './b' },
        { name: './c', type: '2', link: '../anywhere//at all' },
        { name: './d', type: '3' },
        { name: './e', type: '4' },
        { name: './f', type: '6' },
        { name: '././/g//h/', type: '5' },
        { name: 'old/', type: '\0', magic: '\0'.repeat(8) },
        { name: 'i', type: '7', data: 'x' },
      ),
    );
    const common = { uid: 0, gid: 0, mode: 0o644, mtimeSec: 1_700_000_000 };
    expect(entries).toMatchObject([
      { ...common, path: '', kind: 'directory' },
      { ...common, path: 'a', kind: 'hardlink', target: 'b' },
      { ...common, path: 'b', kind: 'file', content: { sizeBytes: 5 } },
      { ...common, path: 'c', kind: 'symlink', target: '../anywhere//at all' },
      { ...common, path: 'd', kind: 'character', major: 1, minor: 3 },
      { ...common, path: 'e', kind: 'block', major: 1, minor: 3 },
      { ...common, path: 'f', kind: 'fifo' },
      { ...common, path: 'g/h', kind: 'directory' },
      { ...common, path: 'i', kind: 'file' },
      { ...common, path: 'old', kind: 'directory' },
    ]);
    expect(await text(entries[2])).toBe('hello');
  });

  test('long names: ustar prefix, GNU, pax, and pax over GNU', async () => {
    const long = `${'d'.repeat(120)}/${'f'.repeat(130)}`;
    const entries = await index(
      archive(
        { name: 'f', prefix: 'deep' },
        { name: 'g', prefix: 'not a prefix', magic: 'ustar  ' },
        { name: '././@LongLink', type: 'L', data: `${long}\0` },
        { name: 'short', data: '1' },
        { name: '././@LongLink', type: 'K', data: `${long}\0` },
        { name: 'link', type: '2', link: 'short' },
        pax({ path: `p${long}`, linkpath: 'ünï' }),
        { name: '././@LongLink', type: 'L', data: 'lower\0' },
        { name: 'short', type: '2', link: 'x' },
      ),
    );
    expect(entries.map((entry) => [entry.path, entry.kind === 'symlink' && entry.target])).toEqual([
      [long, false],
      ['deep/f', false],
      ['g', false],
      ['link', long],
      [`p${long}`, 'ünï'],
    ]);
  });

  test('numbers: pax and base-256, and what pax says about names of users is left out', async () => {
    const base256 = (value: bigint, width: number) => {
      const bytes = Buffer.alloc(width, value < 0 ? 0xff : 0);
      bytes.writeBigInt64BE(value, width - 8);
      bytes[0] = value < 0 ? 0xff : 0x80;
      return bytes;
    };
    const [first, second, third] = await index(
      archive(
        pax({
          uid: '3000000',
          gid: '4294967295',
          mtime: '1234567890.9',
          uname: 'someone',
          size: '3',
          comment: '=',
        }),
        { name: 'a', data: 'abc', size: '77777777777' },
        {
          name: 'b',
          uid: Buffer.from('80000000002dc6c1', 'hex'),
          mtime: base256(-5n, 12),
          data: 'x',
          size: base256(1n, 12),
        },
        pax({ uid: '' }),
        { name: 'c' },
      ),
    );
    expect(first).toMatchObject({ uid: 3_000_000, gid: 4_294_967_295, mtimeSec: 1_234_567_890 });
    expect(await text(first)).toBe('abc');
    expect(second).toMatchObject({ uid: 3_000_001, mtimeSec: -5, content: { sizeBytes: 1 } });
    expect(third).toMatchObject({ uid: 0 });
  });

  test('of two entries of one path the last one counts', async () => {
    const entries = await index(
      archive({ name: 'a', data: 'old' }, { name: 'b', type: '2', link: 'x' }, { name: './a', data: 'new' }),
    );
    expect(entries.map(({ path }) => path)).toEqual(['a', 'b']);
    expect(await text(entries[0])).toBe('new');
  });

  test('a chain of hard links ends at the file, a link to itself changes nothing', async () => {
    const entries = await index(
      archive(
        { name: 'a', data: 'x' },
        { name: 'b', type: '1', link: 'a' },
        { name: 'c', type: '1', link: 'b' },
        { name: 'a', type: '1', link: 'c' },
      ),
    );
    expect(entries).toMatchObject([
      { kind: 'file' },
      { kind: 'hardlink', target: 'a' },
      { kind: 'hardlink', target: 'a' },
    ]);
  });

  test.each<[string, (Raw | Buffer)[], string]>([
    ['a path that climbs', [{ name: '../x' }], 'entry "../x": the name "../x" leads outside'],
    ['a path that climbs later', [{ name: 'a/../../x' }], 'leads outside'],
    ['an absolute path', [{ name: '/etc/passwd' }], 'is absolute'],
    ['an absolute pax path', [pax({ path: '/etc/passwd' }), {}], 'is absolute'],
    ['a NUL in a pax path', [pax({ path: 'a\0b' }), {}], 'contains a NUL'],
    ['a NUL in a GNU name', [{ type: 'L', data: 'a\0b\0' }, {}], 'contains a NUL'],
    ['an empty name', [{ name: '' }], 'an empty name'],
    ['a part of 256 bytes', [pax({ path: 'n'.repeat(256) }), {}], 'longer than 255 bytes'],
    ['a path of 5000 bytes', [pax({ path: 'n/'.repeat(2500) }), {}], 'longer than 4095 bytes'],
    ['a root that is a file', [{ name: './', type: '2', link: 'x' }], 'the root is a symlink'],
    [
      'an entry below a symlink',
      [
        { name: 'a', type: '2', link: '/etc' },
        { name: 'a/passwd', data: 'x' },
      ],
      '"a/passwd" is below "a", which is a symlink',
    ],
    [
      'an entry below a symlink that comes later',
      [{ name: 'a/b/c/passwd' }, { name: 'a', type: '2', link: '/etc' }],
      '"a/b/c/passwd" is below "a", which is a symlink',
    ],
    ['an entry below a file', [{ name: 'a' }, { name: 'a/b' }], 'below "a", which is a file'],
    ['a hard link to nothing', [{ name: 'a', type: '1', link: 'b' }], 'not in the archive before it'],
    ['a hard link outside', [{ name: 'a', type: '1', link: '../b' }], 'the link target "../b" leads outside'],
    ['a hard link to a path of the host', [{ name: 'a', type: '1', link: '/etc/shadow' }], 'is absolute'],
    [
      'a hard link to a directory',
      [
        { name: 'd', type: '5' },
        { name: 'a', type: '1', link: 'd' },
      ],
      'is a directory',
    ],
    [
      'a hard link whose file is replaced',
      [{ name: 'a' }, { name: 'b', type: '1', link: 'a' }, { name: 'a', data: 'new' }],
      '"b" is a hard link to "a", which is replaced',
    ],
    ['an empty link target', [{ name: 'a', type: '2' }], 'link target that is empty'],
    ['a wrong checksum', [{ checksum: 1 }], 'header at 0: header checksum is 1'],
    ['a number that is not octal', [{ uid: '000009x\0' }], 'field uid is "000009x", not octal'],
    [
      'a huge number',
      [{ size: Buffer.from('80ffffffffffffffffffffff', 'hex') }],
      'beyond what can be counted',
    ],
    ['a negative size', [{ size: Buffer.from('ffffffffffffffffffffffff', 'hex') }], 'do not fit'],
    ['a negative uid', [{ uid: Buffer.from('ffffffffffffffff', 'hex') }], 'uid is -1'],
    ['a size beyond the archive', [{ size: '00000002001\0' }], 'entry "file": 1025 bytes of data do not fit'],
    ['a pax size beyond the archive', [pax({ size: '9007199254740991' }), {}], 'do not fit'],
    ['a pax size that is no number', [pax({ size: '1e3' }), {}], 'pax record size is "1e3"'],
    ['a symlink with data', [{ name: 'a', type: '2', link: 'x', data: 'y' }], 'a symlink with 1 bytes'],
    ['a sparse file of GNU', [{ type: 'S' }], 'type "S" is not supported'],
    ['a sparse file of pax', [pax({ 'GNU.sparse.major': '1' }), {}], 'sparse files are not supported'],
    ['names in another charset', [pax({ hdrcharset: 'BINARY' }), {}], '"BINARY" are not supported'],
    ['a global header with a path', [pax({ path: 'x' }, 'g'), {}], 'global extended header with "path"'],
    ['a broken pax record', [{ type: 'x', data: '99 path=x\n' }, {}], 'broken pax record at 0'],
    ['a pax record without an end', [{ type: 'x', data: '10 path=xy' }, {}], 'broken pax record at 0'],
    ['a pax record of length 0', [{ type: 'x', data: '0 path=x\n' }, {}], 'broken pax record at 0'],
    [
      'a pax path that is not UTF-8',
      [raw({ type: 'x', data: '10 path=\0\n' }).fill(0xff, 520, 521), {}],
      'UTF-8',
    ],
    ['an extended header at the end', [pax({ path: 'x' })], 'with no entry behind it'],
    ['bytes after the end', [endMark, Buffer.from('x')], 'more than zeros after the end mark'],
  ])('%s is refused', async (_, entries, message) => {
    await expect(index(archive(...entries))).rejects.toThrow(ProtocolError);
    await expect(index(archive(...entries))).rejects.toThrow(message);
    await expect(index(archive(...entries))).rejects.toThrow('Tar archive x.tar, ');
  });

  test('a name that is not UTF-8 is refused', async () => {
    const header = raw({ name: 'a' });
    header[0] = 0xff;
    header.write(`${checksum(header).toString(8).padStart(6, '0')}\0 `, 148);
    await expect(index(archive(header))).rejects.toThrow('not UTF-8');
  });

  test('an extended header beyond a megabyte is refused unread', async () => {
    const size = (1024 * 1024 + 1).toString(8).padStart(11, '0');
    const bytes = Buffer.concat([raw({ type: 'x', size }), Buffer.alloc(2 * 1024 * 1024)]);
    await expect(index(bytes)).rejects.toThrow('an extended header of 1048577 bytes');
  });

  test('more entries than allowed are refused', async () => {
    const bytes = archive({ name: 'a' }, { name: 'b' }, { name: 'c' });
    expect(await index(bytes, { maxEntries: 3 })).toHaveLength(3);
    await expect(index(bytes, { maxEntries: 2 })).rejects.toThrow(
      'entry "c": the archive has more than 2 entries',
    );
  });

  test('an archive cut anywhere before its end mark is refused', async () => {
    const bytes = archive(pax({ path: 'p' }), { data: 'x'.repeat(600) }, { name: 'd', type: '5' });
    for (let length = 0; length < bytes.length - 512; length++) {
      await expect(index(bytes.subarray(0, length)), `cut at ${length}`).rejects.toThrow(ProtocolError);
    }
    expect(await index(bytes.subarray(0, bytes.length - 512))).toHaveLength(2);
  });

  test('what another writer packs comes back', async () => {
    const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }).filter((part) => {
      return !/[/\0]/.test(part) && part !== '.' && part !== '..' && Buffer.byteLength(part) <= 255;
    });
    const path = fc.array(name, { minLength: 1, maxLength: 6 }).map((parts) => `top/${parts.join('/')}`);
    const files = fc.uniqueArray(fc.record({ path, data: fc.string({ maxLength: 2000 }) }), {
      selector: (file) => file.path,
      comparator: (one, other) => one === other || one.startsWith(`${other}/`) || other.startsWith(`${one}/`),
      maxLength: 8,
    });
    await fc.assert(
      fc.asyncProperty(files, async (list) => {
        const writer = pack();
        for (const file of list) writer.entry({ name: file.path, mode: 0o640, uid: 5 }, file.data);
        writer.finalize();
        const entries = await index(await collect(Readable.from(writer)));
        const found = await Promise.all(entries.map(async (entry) => [entry.path, await text(entry)]));
        expect(new Map(found as [string, string][])).toEqual(
          new Map(list.map((file) => [file.path, Buffer.from(file.data).toString()])),
        );
      }),
      { numRuns: 60 },
    );
  });

  test('any one changed byte of a header is refused or harmless, and never something else', async () => {
    const bytes = archive({ name: './a', data: 'hello' }, { name: './b', type: '2', link: 'a' });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: bytes.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        async (at, change) => {
          const broken = Buffer.from(bytes);
          broken[at] = (broken[at] ?? 0) ^ change;
          const result = await index(broken).catch((error: unknown) => error);
          if (!Array.isArray(result)) expect(result).toBeInstanceOf(ProtocolError);
        },
      ),
    );
  });
});

function checksum(header: Buffer): number {
  const copy = Buffer.from(header.subarray(0, 512)).fill(' ', 148, 156);
  return copy.reduce((total, byte) => total + byte, 0);
}
