import { execFileSync, spawnSync } from 'node:child_process';
import { mkdir, mkdtempDisposable, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bytesContent } from '../../../builder/formats/tree.ts';
import { planBootPartition } from '../../../builder/image/boot-partition.ts';
import { planDisk } from '../../../builder/image/plan-disk.ts';
import { writeImage } from '../../../builder/image/write-image.ts';

const hasTools = ['sgdisk', 'sfdisk', 'dd', 'fsck.fat'].every(
  (tool) => spawnSync(tool, ['--version']).error === undefined,
);
const mayMount = process.platform === 'linux' && process.getuid?.() === 0;

const disk = planDisk('chat.example.org');
const { signal } = new AbortController();

describe.skipIf(!hasTools && !process.env['CI'])('writeImage, judged', () => {
  test('satisfies sgdisk, sfdisk and fsck.fat', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
    const path = join(scratch.path, 'relay.img');
    const parts = { boot: planBootPartition([], disk), root: bytesContent(Buffer.alloc(1000, 1)) };
    await writeImage(path, disk, parts, signal);
    // sgdisk only warns of the hybrid MBR, which we want.
    expect(execFileSync('sgdisk', ['-v', path], { encoding: 'utf8' })).toMatch(/No problems found/);
    const table = execFileSync('sfdisk', ['--json', path], { encoding: 'utf8' });
    expect(table).toContain(disk.diskGuid.toUpperCase());
    const volume = join(scratch.path, 'boot.fat');
    const range = [`skip=${disk.boot.firstSector}`, `count=${disk.boot.sizeBytes / 512}`, 'conv=sparse'];
    execFileSync('dd', [`if=${path}`, `of=${volume}`, 'bs=512', 'status=none', ...range]);
    expect(execFileSync('fsck.fat', ['-n', volume], { encoding: 'utf8' })).not.toMatch(/differ|wrong/);
  });

  test.skipIf(!mayMount && !process.env['CI'])('leaves nothing on a full disk', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
    const mountPoint = join(scratch.path, 'small');
    await mkdir(mountPoint);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', mountPoint]);
    try {
      const root = bytesContent(Buffer.alloc(4 * 1024 * 1024, 1));
      const parts = { boot: planBootPartition([], disk), root };
      await expect(writeImage(join(mountPoint, 'relay.img'), disk, parts, signal)).rejects.toThrow(/ENOSPC/);
      expect(await readdir(mountPoint)).toEqual([]);
    } finally {
      execFileSync('umount', [mountPoint]);
    }
  });
});
