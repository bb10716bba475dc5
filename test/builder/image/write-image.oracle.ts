import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtempDisposable, open, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openImage } from '../../../builder/flash/image.ts';
import { planFlash } from '../../../builder/flash/plan.ts';
import { bytesContent } from '../../../builder/formats/tree.ts';
import { planBootPartition } from '../../../builder/image/boot-partition.ts';
import { planDisk } from '../../../builder/image/plan-disk.ts';
import { writeImage } from '../../../builder/image/write-image.ts';

const hasTools = ['sgdisk', 'sfdisk', 'dd', 'fsck.fat', 'bmaptool', 'zstd', 'xz'].every(
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

  test.each([undefined, 'zst', 'xz'] as const)(
    'bmaptool writes it (compressed: %s) by its map over old content, and finds a byte that was changed',
    async (compression) => {
      await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
      const parts = { boot: planBootPartition([], disk), root: bytesContent(randomBytes(3_000_000)) };
      const { path, mapPath } = await writeImage(
        join(scratch.path, 'relay.img'),
        disk,
        parts,
        signal,
        compression,
      );
      const target = join(scratch.path, 'disk');
      await using file = await open(target, 'w+');
      await file.truncate(disk.sizeBytes);
      // Where DATA begins an old filesystem would be taken for ours.
      for (const { startBytes } of [disk.data, disk.rootB]) {
        await file.write(Buffer.alloc(65_536, 0x5a), 0, 65_536, startBytes);
      }
      // It finds the map by itself, and says so.
      const said = spawnSync('bmaptool', ['copy', path, target], { encoding: 'utf8' });
      expect({ status: said.status, stderr: said.stderr }).toEqual({
        status: 0,
        stderr: expect.stringContaining(mapPath),
      });
      expect(execFileSync('sgdisk', ['-v', target], { encoding: 'utf8' })).toMatch(/No problems found/);
      const expected = await planFlash(await openImage(path, signal), signal);
      const { size } = await file.stat();
      expect(size).toBe(disk.sizeBytes);
      for (const { offsetBytes, sizeBytes, digest } of expected.blocks) {
        const { buffer } = await file.read(Buffer.alloc(sizeBytes), 0, sizeBytes, offsetBytes);
        expect(createHash('sha256').update(buffer).digest('hex'), `at ${offsetBytes}`).toBe(digest);
      }
      if (compression !== undefined) return;
      await using image = await open(path, 'r+');
      await image.write(Uint8Array.of(0xff), 0, 1, disk.rootA.startBytes + 1_000_000);
      await image.write(Uint8Array.of(0x00), 0, 1, disk.rootA.startBytes + 1_000_001);
      const refused = spawnSync('bmaptool', ['copy', '--bmap', mapPath, path, target], { encoding: 'utf8' });
      expect(refused.status).not.toBe(0);
      expect(refused.stderr).toMatch(/checksum mismatch/);
    },
    180_000,
  );

  test('a map that bmaptool made of the bare image is taken', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'image-'));
    const path = join(scratch.path, 'relay.img');
    const parts = { boot: planBootPartition([], disk), root: bytesContent(randomBytes(3_000_000)) };
    const { mapPath } = await writeImage(path, disk, parts, signal);
    const expected = await planFlash(await openImage(path, signal), signal);
    execFileSync('bmaptool', ['create', '--output', mapPath, path]);
    const image = await openImage(path, signal);
    expect(image.mapPath).toBe(mapPath);
    expect(await planFlash(image, signal)).toEqual(expected);
  });
});
