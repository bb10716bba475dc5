import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtempDisposable, open, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fatAttributes } from '../../../../builder/formats/fat/directory.ts';
import { type FatOptions, planFat32 } from '../../../../builder/formats/fat/plan.ts';
import { planRootFile } from '../../../../builder/formats/fat/replace-file.ts';
import { writeFat32 } from '../../../../builder/formats/fat/write.ts';
import { openFileSource } from '../../../../builder/formats/random-access.ts';
import { createSparseFile } from '../../../../builder/formats/sparse-file.ts';
import { bytesContent, type TreeEntry } from '../../../../builder/formats/tree.ts';

const present = (tool: string): boolean => spawnSync(tool, ['--version']).error === undefined;
const hasTools = ['fsck.fat', 'mdir', 'mcopy'].every(present);
/** Not every kernel has vfat; the machines of test/builder/image/boot.vm.ts do, and read it there. */
const mayMount =
  process.getuid?.() === 0 &&
  existsSync('/proc/filesystems') &&
  /\bvfat\b/.test(readFileSync('/proc/filesystems', 'latin1'));

const common = { mode: 0o755, uid: 0, gid: 0, mtimeSec: Date.UTC(2026, 10, 21, 12, 34, 57) / 1000 };
const options = {
  sizeBytes: 288 * 1024 * 1024,
  clusterBytes: 4096,
  volumeId: 0x1234abcd,
  label: 'BOOT',
  hiddenSectors: 2048,
};

function directory(path: string): TreeEntry {
  return { ...common, path, kind: 'directory' };
}

/** Bytes that differ from file to file and from sector to sector. */
function file(path: string, sizeBytes: number): TreeEntry {
  const bytes = Buffer.alloc(sizeBytes);
  for (let offset = 0; offset < sizeBytes; offset += 32) {
    createHash('sha256').update(`${path} ${offset}`).digest().copy(bytes, offset);
  }
  return { ...common, path, kind: 'file', content: bytesContent(bytes) };
}

/** All that is awkward about names and sizes. */
function awkwardTree(): TreeEntry[] {
  const entries = [
    directory('EFI'),
    directory('EFI/BOOT'),
    file('EFI/BOOT/BOOTX64.EFI', 1_036_152),
    directory('loader'),
    directory('loader/entries'),
    file('loader/entries/slot-b+0-1.conf', 200),
    file('empty', 0),
    file('one.byte', 1),
    file('exact', 4096),
    file('exact-and-one', 4097),
    file('UPPER.TXT', 10),
    file('Mixed.Txt', 11),
    file('lower.txt', 12),
    file('two.dots.txt', 13),
    file('two.dots.txu', 14),
    file('.hidden', 15),
    file('a b', 16),
    file('plus+comma,[x]', 17),
    file('grüße.txt', 18),
    file('Грамота.txt', 19),
    file('𝒞lef-🔑.txt', 20),
    file('long-name.text', 21),
    file('LONG-N~1.TEX', 22),
    file(`${'n'.repeat(251)}.txt`, 23),
    file(`${'ü'.repeat(251)}.txt`, 24),
    directory('many'),
    directory('deep'),
  ];
  for (let index = 0; index < 10_000; index++) entries.push(file(`many/message-${index}.eml`, index % 64));
  let path = 'deep';
  for (let level = 0; level < 30; level++) {
    path += `/level ${level}`;
    entries.push(directory(path));
  }
  entries.push(file(`${path}/bottom`, 5000));
  return entries;
}

async function writeVolume(path: string, entries: TreeEntry[], with_: FatOptions): Promise<void> {
  await using sink = await createSparseFile(path, with_.sizeBytes);
  await writeFat32(planFat32(entries, with_), sink, new AbortController().signal);
}

async function bytesOf(entry: TreeEntry): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  if (entry.kind === 'file') for await (const chunk of entry.content.read()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe.skipIf(!hasTools && !process.env['CI'])('writeFat32, judged', () => {
  test.each([
    ['288 MiB, 4 KiB clusters', options],
    ['40 MiB, 512-byte clusters', { ...options, sizeBytes: 40 * 1024 * 1024, clusterBytes: 512 }],
    ['2200 MiB, 32 KiB clusters', { ...options, sizeBytes: 2200 * 1024 * 1024, clusterBytes: 32_768 }],
  ])('satisfies fsck.fat: %s', async (_, with_) => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'fat-'));
    const image = join(scratch.path, 'fat.img');
    await writeVolume(image, awkwardTree(), with_);
    const { status, stdout, stderr } = spawnSync('fsck.fat', ['-n', '-v', image], { encoding: 'utf8' });
    expect(stderr + stdout).not.toMatch(/differ|wrong|automatically|dirty|bad /i);
    expect(status, stdout + stderr).toBe(0);
  });

  test.each([1, 4096, 4097, 200_000])('satisfies fsck.fat after a file got %i bytes', async (sizeBytes) => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'fat-'));
    const image = join(scratch.path, 'fat.img');
    await writeVolume(image, awkwardTree(), options);
    const content = Buffer.alloc(sizeBytes, 'other content ');
    {
      await using source = await openFileSource(image);
      const patches = await planRootFile(source, 'exact-and-one', content);
      await using file = await open(image, 'r+');
      for (const { offsetBytes, bytes } of patches ?? []) {
        await file.write(bytes, 0, bytes.length, offsetBytes);
      }
    }
    const { status, stdout, stderr } = spawnSync('fsck.fat', ['-n', '-v', image], { encoding: 'utf8' });
    expect(stderr + stdout).not.toMatch(/differ|wrong|automatically|dirty|bad /i);
    expect(status, stdout + stderr).toBe(0);
    const env = { ...process.env, MTOOLS_SKIP_CHECK: '1', LC_ALL: 'C.UTF-8' };
    expect(execFileSync('mtype', ['-i', image, '::/exact-and-one'], { env }).equals(content)).toBe(true);
  });

  test('gives mtools the same bytes back, and the attributes', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'fat-'));
    const image = join(scratch.path, 'fat.img');
    // mcopy overruns its buffers on names of more than 255 bytes, and has only the basic plane of Unicode.
    const entries = awkwardTree().filter(
      ({ path }) => !path.startsWith('many') && !path.includes('🔑') && !path.includes('üü'),
    );
    const readOnly = fatAttributes.readOnly | fatAttributes.hidden | fatAttributes.system;
    await writeVolume(image, entries, { ...options, attributes: new Map([['lower.txt', readOnly]]) });
    const target = join(scratch.path, 'out');
    await mkdir(target);
    const env = { ...process.env, MTOOLS_SKIP_CHECK: '1', LC_ALL: 'C.UTF-8' };
    execFileSync('mcopy', ['-i', image, '-s', '-n', '::/', target], { env });
    for (const entry of entries) {
      if (entry.kind !== 'file') continue;
      expect((await readFile(join(target, entry.path))).equals(await bytesOf(entry)), entry.path).toBe(true);
    }
    const listing = execFileSync('mattrib', ['-i', image, '::/lower.txt'], { env, encoding: 'utf8' });
    expect(listing.replaceAll(/\s+/g, '')).toContain('SHR');
    const times = execFileSync('mdir', ['-i', image, '::/loader/entries'], { env, encoding: 'utf8' });
    expect(times).toMatch(/slot-b\+0-1\.conf/);
    expect(times).toMatch(/2026-11-21 +12:34/);
  });

  test.skipIf(!mayMount)('reads the same through the kernel', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'fat-'));
    const image = join(scratch.path, 'fat.img');
    const entries = awkwardTree();
    await writeVolume(image, entries, options);
    const mountPoint = join(scratch.path, 'mnt');
    await mkdir(mountPoint);
    execFileSync('mount', ['-t', 'vfat', '-o', 'loop,ro,utf8,tz=UTC', image, mountPoint]);
    try {
      for (const entry of entries) {
        if (entry.kind !== 'file') continue;
        const read = await readFile(join(mountPoint, entry.path));
        expect(read.equals(await bytesOf(entry)), entry.path).toBe(true);
      }
      const seen = execFileSync('find', [mountPoint, '-mindepth', '1', '-newermt', '2026-11-21 12:34:55Z'], {
        encoding: 'utf8',
        maxBuffer: 64 * 1024 * 1024,
      });
      expect(seen.trimEnd().split('\n').length).toBe(entries.length);
    } finally {
      execFileSync('umount', [mountPoint]);
    }
  });
});
