import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempDisposable, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeProtectiveMbr } from '../../../builder/formats/mbr.ts';
import {
  encodeGpt,
  gptLastUsableSector,
  legacyBiosBootable,
  partitionTypes,
} from '../../../appliance/disk/gpt.ts';

const hasTools = ['sgdisk', 'sfdisk'].every((tool) => spawnSync(tool, ['--version']).error === undefined);

const diskGuid = '01234567-89ab-4cde-8f01-23456789abcd';
const diskSizeBytes = 64 * 1024 * 1024;
const partitions = [
  {
    number: 1,
    name: 'BOOT',
    typeGuid: partitionTypes.efiSystem,
    guid: '00000000-0000-4000-8000-000000000001',
    firstSector: 2048,
    lastSector: 4095,
    attributes: legacyBiosBootable,
  },
  {
    number: 2,
    name: 'DATA',
    typeGuid: partitionTypes.linuxFilesystem,
    guid: '00000000-0000-4000-8000-000000000002',
    firstSector: 4096,
    lastSector: 8191,
    attributes: 1n << 48n,
  },
];

/** What makes the golden bytes of gpt.test.ts. */
const sfdiskScript = `label: gpt
label-id: ${diskGuid}
first-lba: 34
start=2048, size=2048, type=${partitionTypes.efiSystem}, uuid=00000000-0000-4000-8000-000000000001, name=BOOT, attrs="LegacyBIOSBootable"
start=4096, size=4096, type=${partitionTypes.linuxFilesystem}, uuid=00000000-0000-4000-8000-000000000002, name=DATA, attrs="GUID:48"
`;

async function writeDisk(file: string, sizeBytes: number, table = { diskGuid, partitions }): Promise<void> {
  const { primary, backup } = encodeGpt({ ...table, diskSizeBytes: sizeBytes });
  await using handle = await open(file, 'w');
  await handle.truncate(sizeBytes);
  await handle.write(encodeProtectiveMbr({ diskSizeBytes: sizeBytes }), 0, 512, 0);
  await handle.write(primary.bytes, 0, primary.bytes.length, primary.firstSector * 512);
  await handle.write(backup.bytes, 0, backup.bytes.length, backup.firstSector * 512);
}

describe.skipIf(!hasTools && !process.env['CI'])('encodeGpt, judged', () => {
  test('gives byte for byte what sfdisk writes', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'gpt-'));
    const [ours, theirs] = [join(directory.path, 'ours'), join(directory.path, 'theirs')];
    await writeDisk(ours, diskSizeBytes);
    await writeFile(theirs, '');
    await truncate(theirs, diskSizeBytes);
    execFileSync('sfdisk', ['--quiet', theirs], { input: sfdiskScript });
    const [a, b] = [await readFile(ours), await readFile(theirs)];
    expect(a.subarray(512).equals(b.subarray(512))).toBe(true);
  });

  test('satisfies sgdisk, and reads the same in sfdisk, on 64 MiB and on 3 TiB', async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'gpt-'));
    for (const sizeBytes of [diskSizeBytes, 3 * 1024 ** 4]) {
      const file = join(directory.path, `disk-${sizeBytes}`);
      const grown = partitions.map((each) =>
        each.number === 2 ? { ...each, lastSector: gptLastUsableSector(sizeBytes) } : each,
      );
      await writeDisk(file, sizeBytes, { diskGuid, partitions: grown });
      expect(execFileSync('sgdisk', ['-v', file], { encoding: 'utf8' })).toMatch(/No problems found/);
      const table: unknown = JSON.parse(execFileSync('sfdisk', ['--json', file], { encoding: 'utf8' }));
      expect(table).toMatchObject({
        partitiontable: {
          label: 'gpt',
          id: diskGuid.toUpperCase(),
          partitions: [
            { start: 2048, size: 2048, name: 'BOOT', attrs: 'LegacyBIOSBootable' },
            { start: 4096, size: gptLastUsableSector(sizeBytes) - 4095, name: 'DATA', attrs: 'GUID:48' },
          ],
        },
      });
    }
  });
});
