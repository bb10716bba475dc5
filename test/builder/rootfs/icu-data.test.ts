import { describe, expect, test } from 'vitest';
import { IntegrityError } from '../../../appliance/base/errors.ts';
import { readElfSection } from '../../../builder/formats/elf.ts';
import { emptyIcuData, icuDataLibrary } from '../../../builder/rootfs/icu-data.ts';
import { encodeElf } from '../../fakes/kernel-module.ts';

/** ICU common data (struct DataHeader of ICU's udatamem.h), then a table of contents and data. */
function icuData({
  headerBytes = 32,
  magic = [0xda, 0x27],
  format = 'CmnD',
  dataBytes = 200,
} = {}): Uint8Array {
  const bytes = new Uint8Array(headerBytes + dataBytes).fill(0x55);
  new DataView(bytes.buffer).setUint16(0, headerBytes, true);
  bytes.set(magic, 2);
  bytes.set(new TextEncoder().encode(format), 12);
  return bytes;
}

const libraryOf = (rodata: Uint8Array) =>
  encodeElf({
    '.text': new Uint8Array(16).fill(0x90),
    '.rodata': rodata,
    '.data': new Uint8Array(8).fill(7),
  });

describe('emptyIcuData', () => {
  test('leaves the header and nothing after it, and the rest of the library as it is', () => {
    const library = libraryOf(icuData());
    const before = Uint8Array.from(library);
    const emptied = emptyIcuData(library);
    expect(library).toEqual(before);
    expect(emptied).toHaveLength(library.length);
    const rodata = readElfSection(emptied, '.rodata') ?? new Uint8Array();
    expect(rodata.subarray(0, 32)).toEqual(icuData().subarray(0, 32));
    // The number of entries comes first: there are none.
    expect(rodata.subarray(32)).toEqual(new Uint8Array(200));
    for (const name of ['.text', '.data']) {
      expect(readElfSection(emptied, name)).toEqual(readElfSection(library, name));
    }
  });

  test('works on a library that lies within other bytes', () => {
    const library = libraryOf(icuData());
    const around = Buffer.concat([Buffer.alloc(13, 1), library, Buffer.alloc(5, 2)]);
    expect(emptyIcuData(around.subarray(13, 13 + library.length))).toEqual(emptyIcuData(library));
  });

  test.each([
    ['no .rodata', encodeElf({ '.text': new Uint8Array(16) })],
    ['another magic', libraryOf(icuData({ magic: [0x27, 0xda] }))],
    ['another format', libraryOf(icuData({ format: 'Cnvt' }))],
    ['a header of 23 bytes', libraryOf(icuData({ headerBytes: 23 }))],
    ['a header of 1025 bytes', libraryOf(icuData({ headerBytes: 1025 }))],
    ['too little data', libraryOf(icuData({ dataBytes: 8 }))],
  ])('refuses %s', (_, library) => {
    expect(() => emptyIcuData(library)).toThrow(IntegrityError);
  });

  test('is for that library alone', () => {
    expect('usr/lib/x86_64-linux-gnu/libicudata.so.76.1').toMatch(icuDataLibrary);
    for (const other of [
      'usr/lib/x86_64-linux-gnu/libicuuc.so.76.1',
      'usr/lib/x86_64-linux-gnu/libicudata.so.76',
    ]) {
      expect(other).not.toMatch(icuDataLibrary);
    }
  });
});
