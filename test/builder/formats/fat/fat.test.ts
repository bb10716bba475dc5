import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeDosTime } from '../../../../builder/formats/fat/directory.ts';
import { assignFatNames } from '../../../../builder/formats/fat/names.ts';
import { locateFile, planFat32, replaceFile } from '../../../../builder/formats/fat/plan.ts';
import { writeFat32 } from '../../../../builder/formats/fat/write.ts';
import type { ImageSink } from '../../../../builder/formats/sparse-file.ts';
import { bytesContent, textContent, type TreeEntry } from '../../../../builder/formats/tree.ts';
import { readVolume } from './read-volume.ts';

/** The smallest volume with clusters of one sector. */
const options = {
  sizeBytes: 33 * 1024 * 1024,
  clusterBytes: 512,
  volumeId: 0x1234abcd,
  label: 'BOOT',
  hiddenSectors: 2048,
};
const common = { mode: 0o644, uid: 0, gid: 0, mtimeSec: Date.UTC(2026, 10, 21, 12, 34, 57) / 1000 };
const { signal } = new AbortController();

function directory(path: string): TreeEntry {
  return { ...common, path, kind: 'directory' };
}

function file(path: string, text = path): TreeEntry {
  return { ...common, path, kind: 'file', content: textContent(text) };
}

/** A sink in memory that lets no byte be written twice. */
function memorySink(sizeBytes: number): ImageSink & { bytes: Uint8Array } {
  const bytes = new Uint8Array(sizeBytes);
  const written: [number, number][] = [];
  return {
    bytes,
    sizeBytes,
    async writeAt(offset, chunk) {
      const end = offset + chunk.length;
      if (written.some(([from, to]) => offset < to && from < end)) throw new Error(`${offset} written twice`);
      written.push([offset, end]);
      bytes.set(chunk, offset);
    },
  };
}

async function volumeOf(entries: TreeEntry[], with_: Partial<Parameters<typeof planFat32>[1]> = {}) {
  const sink = memorySink(options.sizeBytes);
  await writeFat32(planFat32(entries, { ...options, ...with_ }), sink, signal);
  return readVolume(sink.bytes);
}

describe('writeFat32', () => {
  test('writes what a reader finds again: names, bytes, times, attributes', async () => {
    const volume = await volumeOf(
      [
        directory('loader'),
        directory('loader/entries'),
        file('loader/entries/slot-b+0-1.conf'),
        file('A.TXT'),
      ],
      { attributes: new Map([['A.TXT', 0x07]]) },
    );
    expect(volume.label).toBe('BOOT');
    expect(volume.entries.map(({ path, short }) => [path, short])).toEqual([
      ['A.TXT', 'A.TXT'],
      ['loader', 'LOADER'],
      ['loader/entries', 'ENTRIES'],
      ['loader/entries/slot-b+0-1.conf', 'SLOT-B~1.CON'],
    ]);
    const [upper, , , conf] = volume.entries;
    expect(upper?.attributes).toBe(0x07);
    expect(conf?.attributes).toBe(0x20);
    expect(Buffer.from(conf?.bytes ?? []).toString()).toBe('loader/entries/slot-b+0-1.conf');
    expect(conf?.date).toBe(((2026 - 1980) << 9) | (11 << 5) | 21);
    expect(conf?.time).toBe((12 << 11) | (34 << 5) | 28);
  });

  test('gives the same bytes for the same tree in any order', async () => {
    const entries = [directory('d'), file('d/one-long-name'), file('d/one-long-nome'), file('x')];
    const images = await Promise.all(
      [entries, entries.toReversed()].map(async (tree) => {
        const sink = memorySink(options.sizeBytes);
        await writeFat32(planFat32(tree, options), sink, signal);
        return Buffer.from(sink.bytes);
      }),
    );
    expect(images[0]?.equals(images[1] ?? Buffer.alloc(0))).toBe(true);
  });

  test('holds any tree of names that FAT allows', async () => {
    const name = fc
      .string({ minLength: 1, maxLength: 40, unit: 'grapheme' })
      .filter((text) => text.isWellFormed() && !/[\p{Cc}"*/:<>?\\|]|[ .]$/u.test(text));
    const names = fc.uniqueArray(name, {
      maxLength: 40,
      selector: (text) => text.toUpperCase().toLowerCase(),
    });
    await fc.assert(
      fc.asyncProperty(names, fc.uint8Array({ maxLength: 2000 }), async (leaves, bytes) => {
        const entries = leaves.map((leaf): TreeEntry => ({
          ...common,
          path: `d/${leaf}`,
          kind: 'file',
          content: bytesContent(bytes),
        }));
        const volume = await volumeOf([directory('d'), ...entries]);
        const found = new Map(volume.entries.map((each) => [each.path, each.bytes]));
        expect(found.size).toBe(leaves.length + 1);
        for (const leaf of leaves) expect(Buffer.from(bytes).equals(found.get(`d/${leaf}`)!)).toBe(true);
        expect(new Set(volume.entries.map(({ short }) => short)).size).toBe(volume.entries.length);
      }),
      { numRuns: 12 },
    );
  });

  test('refuses content of another length than it was said to have', async () => {
    for (const extra of [-1, 1]) {
      const content = { ...textContent('1234'), sizeBytes: 4 + extra };
      const plan = planFat32([{ ...common, path: 'f', kind: 'file', content }], options);
      await expect(writeFat32(plan, memorySink(options.sizeBytes), signal)).rejects.toThrow(/said to have/);
    }
  });

  test('stops when it is aborted', async () => {
    const plan = planFat32([file('f')], options);
    const aborted = AbortSignal.abort(new Error('enough'));
    await expect(writeFat32(plan, memorySink(options.sizeBytes), aborted)).rejects.toThrow('enough');
  });
});

describe('planFat32', () => {
  test.each([
    ['a symlink', [{ ...common, path: 'l', kind: 'symlink', target: 'x' }], /it is a symlink/],
    ['a device', [{ ...common, path: 'c', kind: 'character', major: 1, minor: 3 }], /it is a character/],
    ['names that differ in case only', [file('readme'), file('README')], /case does not count/],
    ['non-ASCII names that differ in case only', [file('ärger'), file('ÄRGER')], /case does not count/],
    ['a path twice', [file('x'), file('x')], /twice/],
    ['a file without its directory', [file('d/x')], /directory of d\/x is missing/],
    ['a reserved character', [file('a:b')], /":" is reserved/],
    ['a control character', [file('a\nb')], /reserved/],
    ['a dot at the end', [file('a.')], /ends with a dot/],
    ['half a surrogate pair', [file('a\ud800')], /Unicode/],
    ['a name of 256 units', [file('x'.repeat(256))], /255/],
    [
      'a file of 4 GiB',
      [{ ...common, path: 'f', kind: 'file', content: { ...textContent(''), sizeBytes: 2 ** 32 } }],
      /4 GiB or more/,
    ],
    [
      'more than fits',
      [{ ...common, path: 'f', kind: 'file', content: { ...textContent(''), sizeBytes: 33 * 1024 * 1024 } }],
      /need \d+ bytes, and the FAT volume has \d+/,
    ],
  ] satisfies [string, TreeEntry[], RegExp][])('refuses %s', (_, entries, message) => {
    expect(() => planFat32(entries, options)).toThrow(message);
  });

  test('refuses a directory with more than 65,536 entries', () => {
    const entries = Array.from({ length: 33_000 }, (_, index) => file(`lower-${index}`));
    const roomy = { ...options, sizeBytes: 64 * 1024 * 1024 };
    expect(() => planFat32(entries, roomy)).toThrow(/too many/);
  });

  test.each([
    ['too few clusters for FAT32', { sizeBytes: 32 * 1024 * 1024 }, /FAT32 has 65525/],
    ['a cluster size that is no power of two', { clusterBytes: 1536 }, /power of two/],
    ['a label in lower case', { label: 'boot' }, /label/],
    ['a label of 12 characters', { label: 'ABCDEFGHIJKL' }, /label/],
  ])('refuses %s', (_, wrong, message) => {
    expect(() => planFat32([], { ...options, ...wrong })).toThrow(message);
  });

  test('tells where a file lies, and takes other bytes of the same length for it', async () => {
    const plan = planFat32([file('a', 'x'.repeat(1000)), file('b', 'y'.repeat(513))], options);
    const { firstSector, sectorCount } = locateFile(plan, 'b');
    expect(sectorCount).toBe(2);
    const sink = memorySink(options.sizeBytes);
    await writeFat32(replaceFile(plan, 'b', textContent('z'.repeat(513))), sink, signal);
    expect(Buffer.from(sink.bytes.subarray(firstSector * 512, firstSector * 512 + 513)).toString()).toBe(
      'z'.repeat(513),
    );
    expect(() => replaceFile(plan, 'b', textContent('z'))).toThrow(RangeError);
    expect(() => locateFile(plan, 'c')).toThrow(/has no c/);
  });
});

describe('assignFatNames', () => {
  const shorts = (...names: string[]): string[] => {
    const assigned = assignFatNames(names, '');
    return names.map((name) => Buffer.from(assigned.get(name)?.short ?? []).toString('latin1'));
  };

  test.each([
    ['BOOTX64.EFI', 'BOOTX64 EFI'],
    ['vmlinuz', 'VMLINUZ    '],
    ['chatmail.json', 'CHATMA~1JSO'],
    ['.hidden', 'HIDDEN~1   '],
    ['two.dots.txt', 'TWODOT~1TXT'],
    ['a b', 'AB~1       '],
    ['a+b,c;d=[e]', 'A_B_C_~1   '],
    ['ß', '_~1        '],
    ['longer-than-8', 'LONGER~1   '],
  ])('shortens %s to %s', (name, short) => {
    expect(shorts(name)).toEqual([short]);
  });

  test('keeps no long name where the short one says it all', () => {
    expect(assignFatNames(['BOOTX64.EFI'], '').get('BOOTX64.EFI')?.long).toBeUndefined();
    expect(assignFatNames(['bootx64.efi'], '').get('bootx64.efi')?.long).toBe('bootx64.efi');
  });

  test('never gives an alias that is the name of another file', () => {
    expect(shorts('chatmail.json', 'CHATMA~1.JSO')).toEqual(['CHATMA~2JSO', 'CHATMA~1JSO']);
  });

  test('tells a hundred thousand like names apart within seconds', () => {
    const names = Array.from({ length: 100_000 }, (_, index) => `message-${index}.eml`);
    const assigned = assignFatNames(names, '');
    const different = new Set(
      [...assigned.values()].map(({ short }) => Buffer.from(short).toString('latin1')),
    );
    expect(different.size).toBe(names.length);
  });
});

describe('encodeDosTime', () => {
  test('stays within what DOS can express', () => {
    expect(encodeDosTime(0)).toEqual({ date: (1 << 5) | 1, time: 0, tenMs: 0 });
    expect(encodeDosTime(2 ** 40)).toEqual({
      date: (127 << 9) | (12 << 5) | 31,
      time: (23 << 11) | (59 << 5) | 29,
      tenMs: 100,
    });
  });
});
