import { describe, expect, test } from 'vitest';
import { diskLayout } from '../../../appliance/contract/disk-layout.ts';
import { decodeGpt, encodeGpt } from '../../../appliance/disk/gpt.ts';
import { planDisk } from '../../../builder/image/plan-disk.ts';

describe('planDisk', () => {
  const disk = planDisk('chat.example.org');
  const partitions = [disk.boot, disk.rootA, disk.rootB, disk.data];

  test('lays four partitions one behind the other, on whole MiB', () => {
    expect(partitions.map(({ number, name }) => `${number} ${name}`)).toEqual([
      '1 BOOT',
      '2 ROOT-A',
      '3 ROOT-B',
      '4 DATA',
    ]);
    let next = diskLayout.firstSector;
    for (const { firstSector, lastSector, startBytes, sizeBytes } of partitions) {
      expect(firstSector).toBe(next);
      expect(firstSector % 2048).toBe(0);
      expect([startBytes, sizeBytes]).toEqual([firstSector * 512, (lastSector - firstSector + 1) * 512]);
      next = lastSector + 1;
    }
    expect(disk.sizeBytes % (1024 * 1024)).toBe(0);
  });

  test('leaves room for both tables', () => {
    const { diskGuid, sizeBytes: diskSizeBytes } = disk;
    const { backup } = encodeGpt({ diskSizeBytes, diskGuid, partitions });
    expect(backup.firstSector).toBeGreaterThan(disk.data.lastSector);
    expect(decodeGpt(backup.bytes, 'backup').diskGuid).toBe(diskGuid);
  });

  test('derives identifiers that are the same for the same text, and different for all else', () => {
    const guidsOf = (identity: string): string[] => {
      const plan = planDisk(identity);
      return [plan.diskGuid, plan.boot.guid, plan.rootA.guid, plan.rootB.guid, plan.data.guid];
    };
    expect(guidsOf('a')).toEqual(guidsOf('a'));
    const all = [...guidsOf('a'), ...guidsOf('b')];
    expect(new Set(all).size).toBe(all.length);
    for (const guid of all)
      expect(guid).toMatch(/^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/);
    expect(planDisk('a').volumeId).not.toBe(planDisk('b').volumeId);
    expect(planDisk('a').diskSignature).not.toBe(planDisk('b').diskSignature);
  });
});
