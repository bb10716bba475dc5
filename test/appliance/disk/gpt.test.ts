import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtocolError } from '../../../appliance/base/errors.ts';
import {
  decodeGpt,
  encodeGpt,
  gptAreaSectors,
  gptBackupSector,
  gptLastUsableSector,
  type GptPartition,
  legacyBiosBootable,
  partitionTypes,
} from '../../../appliance/disk/gpt.ts';

const diskGuid = '01234567-89ab-4cde-8f01-23456789abcd';
const diskSizeBytes = 64 * 1024 * 1024;

function partition(
  number: number,
  firstSector: number,
  lastSector: number,
  name = `P${number}`,
): GptPartition {
  return {
    number,
    name,
    typeGuid: partitionTypes.linuxFilesystem,
    guid: `00000000-0000-4000-8000-${number.toString(16).padStart(12, '0')}`,
    firstSector,
    lastSector,
    attributes: 0n,
  };
}

const two = [
  { ...partition(1, 2048, 4095, 'BOOT'), typeGuid: partitionTypes.efiSystem, attributes: legacyBiosBootable },
  { ...partition(2, 4096, 8191, 'DATA'), attributes: 1n << 48n },
];

describe('encodeGpt', () => {
  test('puts the backup in the last 33 sectors', () => {
    const { primary, backup } = encodeGpt({ diskSizeBytes, diskGuid, partitions: two });
    expect(primary.firstSector).toBe(1);
    expect(backup.firstSector).toBe(diskSizeBytes / 512 - 33);
    expect(backup.firstSector).toBe(gptBackupSector(diskSizeBytes));
    expect(primary.bytes.length).toBe(gptAreaSectors * 512);
    expect(backup.bytes.subarray(0, 128 * 128)).toEqual(primary.bytes.subarray(512));
  });

  test('gives the bytes sfdisk gives', () => {
    // sfdisk (util-linux 2.38.1) on a 64 MiB file, with the script in gpt.oracle.ts.
    const { primary, backup } = encodeGpt({ diskSizeBytes, diskGuid, partitions: two });
    const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
    expect(digest(primary.bytes)).toBe('7ff6bde861b8a84210ac53ca4a1b2906b0919d3defd90452770ea03ffa95bfb6');
    expect(digest(backup.bytes)).toBe('8a55397bba2aff99177eec4d5bb404116604fd271ac9ccc1499a4b1875d06163');
  });

  test.each([
    ['overlapping partitions', [partition(1, 2048, 4096), partition(2, 4096, 8191)], /overlap/],
    ['a partition over the backup', [partition(1, 2048, gptLastUsableSector(diskSizeBytes) + 1)], /usable/],
    ['a partition over the primary', [partition(1, 33, 4095)], /usable/],
    ['an empty range', [partition(1, 4096, 4095)], /no range/],
    ['a number twice', [partition(1, 2048, 4095), partition(1, 4096, 8191)], /twice/],
    ['number 0', [partition(0, 2048, 4095)], /1–128/],
    ['a name of 37 units', [partition(1, 2048, 4095, 'x'.repeat(37))], /36/],
    ['a broken GUID', [{ ...partition(1, 2048, 4095), guid: 'not-a-guid' }], /GUID/],
  ])('refuses %s', (_, partitions, message) => {
    expect(() => encodeGpt({ diskSizeBytes, diskGuid, partitions })).toThrow(message);
  });
});

describe('decodeGpt', () => {
  test('reads both copies back', () => {
    const { primary, backup } = encodeGpt({ diskSizeBytes, diskGuid, partitions: two });
    expect(decodeGpt(primary.bytes, 'primary')).toEqual({ diskGuid, partitions: two });
    expect(decodeGpt(backup.bytes, 'backup')).toEqual({ diskGuid, partitions: two });
  });

  test('reads a Buffer, and leaves it as it is', () => {
    const { primary } = encodeGpt({ diskSizeBytes, diskGuid, partitions: two });
    const read = Buffer.concat([Buffer.alloc(512), primary.bytes]).subarray(512);
    expect(decodeGpt(read, 'primary')).toEqual({ diskGuid, partitions: two });
    expect(read.equals(primary.bytes)).toBe(true);
  });

  test('reads back any table that can be written', () => {
    const sizes = fc.array(fc.tuple(fc.integer({ min: 0, max: 500 }), fc.integer({ min: 1, max: 500 })), {
      maxLength: 128,
    });
    fc.assert(
      fc.property(
        sizes,
        fc.uuid(),
        fc.bigInt(0n, 2n ** 64n - 1n),
        fc.string({ maxLength: 36, unit: 'grapheme-ascii' }),
        (gaps, guid, attributes, name) => {
          let next = 34;
          const partitions = gaps.map(([gap, size], index) => {
            const firstSector = next + gap;
            next = firstSector + size;
            return { ...partition(index + 1, firstSector, next - 1, name), attributes };
          });
          const table = { diskGuid: guid, partitions };
          const encoded = encodeGpt({ ...table, diskSizeBytes: 128 * 1024 * 1024 });
          expect(decodeGpt(encoded.primary.bytes, 'primary')).toEqual(table);
          expect(decodeGpt(encoded.backup.bytes, 'backup')).toEqual(table);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('notices every flipped byte of the header and of the entries in use', () => {
    const { primary } = encodeGpt({ diskSizeBytes, diskGuid, partitions: two });
    for (let offset = 0; offset < 512 + 3 * 128; offset++) {
      if (offset >= 92 && offset < 512) continue; // Reserved: outside the checksum (UEFI 2.10 table 5.5).
      const damaged = primary.bytes.slice();
      damaged[offset] = (damaged[offset] ?? 0) ^ 0x10;
      expect(() => decodeGpt(damaged, 'primary'), `offset ${offset}`).toThrow(ProtocolError);
    }
  });

  test('refuses short input, zeros, and one copy taken for the other', () => {
    const { primary, backup } = encodeGpt({ diskSizeBytes, diskGuid, partitions: two });
    expect(() => decodeGpt(primary.bytes.subarray(1), 'primary')).toThrow(ProtocolError);
    expect(() => decodeGpt(new Uint8Array(0), 'primary')).toThrow(ProtocolError);
    expect(() => decodeGpt(new Uint8Array(33 * 512), 'primary')).toThrow(/signature/);
    expect(() => decodeGpt(primary.bytes, 'backup')).toThrow(ProtocolError);
    expect(() => decodeGpt(backup.bytes, 'primary')).toThrow(ProtocolError);
  });

  test('serves to grow the last partition to the end of a larger disk', () => {
    const { primary } = encodeGpt({ diskSizeBytes, diskGuid, partitions: two });
    const table = decodeGpt(primary.bytes, 'primary');
    const larger = 4 * 1024 * 1024 * 1024;
    const partitions = table.partitions.map((each) =>
      each.number === 2 ? { ...each, lastSector: gptLastUsableSector(larger) } : each,
    );
    const grown = encodeGpt({ ...table, partitions, diskSizeBytes: larger });
    expect(grown.backup.firstSector).toBe(larger / 512 - 33);
    expect(decodeGpt(grown.backup.bytes, 'backup').partitions[1]?.lastSector).toBe(larger / 512 - 34);
  });
});
