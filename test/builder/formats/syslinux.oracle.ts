import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempDisposable, open, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeSyslinuxAdv } from '../../../appliance/disk/syslinux-adv.ts';
import { locateFile, planFat32, replaceFile } from '../../../builder/formats/fat/plan.ts';
import { writeFat32 } from '../../../builder/formats/fat/write.ts';
import { createSparseFile } from '../../../builder/formats/sparse-file.ts';
import { extractSyslinux, installSyslinux, ldlinuxSysBytes } from '../../../builder/formats/syslinux.ts';
import { bytesContent, type TreeEntry } from '../../../builder/formats/tree.ts';
import { unpackDebianPackages } from '../image/debian-files.ts';

const hasTools = ['apt-get', 'dpkg-deb', 'mcopy', 'fsck.fat'].every(
  (tool) => spawnSync(tool, ['--version']).error === undefined,
);

const sizeBytes = 64 * 1024 * 1024;
const common = { mode: 0o644, uid: 0, gid: 0, mtimeSec: 1_800_000_000 };
const fat = { sizeBytes, clusterBytes: 512, volumeId: 1, label: 'BOOT', hiddenSectors: 0 };

async function writeVolume(path: string, plan: ReturnType<typeof planFat32>): Promise<void> {
  await using file = await createSparseFile(path, sizeBytes);
  await writeFat32(plan, file, new AbortController().signal);
}

async function firstSector(path: string): Promise<Buffer> {
  await using file = await open(path, 'r');
  return (await file.read(Buffer.alloc(512), 0, 512, 0)).buffer;
}

describe.skipIf(!hasTools && !process.env['CI'])('installSyslinux, judged', () => {
  test('gives what Debian’s syslinux installs, but for the sectors', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'syslinux-'));
    const [ours, theirs] = [join(scratch.path, 'ours.img'), join(scratch.path, 'theirs.img')];
    const installer = join(await unpackDebianPackages(['syslinux']), 'usr/bin/syslinux');
    const pieces = extractSyslinux(await readFile(installer));
    const directory: TreeEntry = { ...common, path: 'syslinux', kind: 'directory' };
    const content = bytesContent(new Uint8Array(ldlinuxSysBytes(pieces)));

    const plan = planFat32(
      [directory, { ...common, path: 'syslinux/ldlinux.sys', kind: 'file', content }],
      fat,
    );
    const where = locateFile(plan, 'syslinux/ldlinux.sys');
    const installed = installSyslinux(pieces, {
      sectors: Array.from({ length: where.sectorCount }, (_, index) => where.firstSector + index),
      directory: '/syslinux',
      adv: encodeSyslinuxAdv({}),
      fatBootSector: plan.bootSector,
    });
    const sys = bytesContent(installed.ldlinuxSys);
    await writeVolume(ours, {
      ...replaceFile(plan, 'syslinux/ldlinux.sys', sys),
      bootSector: installed.bootSector,
    });
    execFileSync('fsck.fat', ['-n', ours]);

    await writeVolume(theirs, planFat32([directory], fat));
    execFileSync(installer, ['--install', '--directory', '/syslinux', theirs]);
    const read = async (image: string, to: string): Promise<Buffer> => {
      execFileSync('mcopy', ['-i', image, '::/syslinux/ldlinux.sys', join(scratch.path, to)]);
      return readFile(join(scratch.path, to));
    };
    const [a, b] = [await read(ours, 'ours.sys'), await read(theirs, 'theirs.sys')];
    // Checksum; extents (494, two used by us, one by them); pointers to the data vector (5848).
    for (const sysFile of [a, b]) {
      for (const [from, to] of [
        [40, 44],
        [494, 514],
        [5848, 5864],
      ] as const) {
        sysFile.fill(0, from, to);
      }
    }
    expect(a.equals(b)).toBe(true);
    const [bootA, bootB] = [await firstSector(ours), await firstSector(theirs)];
    for (const sector of [bootA, bootB]) sector.fill(0, 282, 286);
    expect(bootA.equals(bootB)).toBe(true);
  });
});
