import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeGpt, type GptTable, partitionTypes } from '../../../appliance/disk/gpt.ts';
import { planGrowth } from '../../../appliance/disk/grow.ts';

const guid = (digit: string) => `${digit.repeat(8)}-0000-4000-8000-000000000000`;
const partition = (number: number, name: string, firstSector: number, lastSector: number) => ({
  number,
  name,
  typeGuid: partitionTypes.linuxFilesystem,
  guid: guid(String(number)),
  firstSector,
  lastSector,
  attributes: 0n,
});
const table: GptTable = {
  diskGuid: guid('f'),
  partitions: [partition(1, 'BOOT', 2048, 4095), partition(4, 'DATA', 4096, 8191)],
};
const mebibyte = 1024 * 1024;

describe('planGrowth', () => {
  test('takes the last partition to the last whole mebibyte before the backup table', () => {
    const grown = planGrowth(table, 64 * mebibyte, { number: 4, attributes: 5n });
    expect(grown.partitions[1]).toMatchObject({ lastSector: 63 * 2048 - 1, attributes: 5n });
    expect(grown.partitions[0]).toEqual(table.partitions[0]);
  });

  test('leaves the size alone where there is no room', () => {
    const same = planGrowth(table, 8192 * 512 + 34 * 512, { number: 4, attributes: 0n });
    expect(same.partitions[1]?.lastSector).toBe(8191);
  });

  test('refuses a partition that is not there, or has another behind it', () => {
    expect(() => planGrowth(table, 64 * mebibyte, { number: 3, attributes: 0n })).toThrow('no partition 3');
    expect(() => planGrowth(table, 64 * mebibyte, { number: 1, attributes: 0n })).toThrow('not the last');
  });

  test('gives a table that fits the disk, for disks of any size that holds the old one', () => {
    fc.assert(
      fc.property(fc.integer({ min: 8192 + 34, max: 2 ** 40 }), (sectors) => {
        const diskSizeBytes = sectors * 512;
        const grown = planGrowth(table, diskSizeBytes, { number: 4, attributes: 0n });
        expect(() => encodeGpt({ ...grown, diskSizeBytes })).not.toThrow();
      }),
    );
  });
});
