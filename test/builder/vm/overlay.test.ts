import { appendFile, mkdtempDisposable, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { sampleBytes, sampleImage } from '../flash/sample.ts';
import { openOverlay } from '../../../builder/vm/overlay.ts';

async function scene() {
  const directory = await mkdtempDisposable(join(tmpdir(), 'overlay-'));
  const image = join(directory.path, 'relay.img');
  await writeFile(image, 'x'.repeat(5000));
  const options = { image, directory: join(directory.path, 'kept'), extraBytes: 1024 * 1024 };
  return { image, options, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

describe('openOverlay', () => {
  test('makes a disk larger than the image, in whole MiB', async () => {
    await using it = await scene();
    const { path, isNew } = await openOverlay(it.options);
    expect(isNew).toBe(true);
    expect((await readFile(path)).readBigUInt64BE(24)).toBe(BigInt(2 * 1024 * 1024));
    expect(await readdir(it.options.directory)).toEqual(['disk.json', 'disk.qcow2']);
  });

  test('keeps what was written to it', async () => {
    await using it = await scene();
    const { path } = await openOverlay(it.options);
    await appendFile(path, 'guest');
    expect(await openOverlay(it.options)).toEqual({ path, isNew: false });
    expect((await readFile(path)).toString('latin1').endsWith('guest')).toBe(true);
  });

  test('refuses to go on with an image that was built anew', async () => {
    await using it = await scene();
    await openOverlay(it.options);
    await utimes(it.image, 1000, 1000);
    await expect(openOverlay(it.options)).rejects.toMatchObject({
      path: '--persist',
      message: expect.stringContaining(it.image),
    });
  });

  test('an overlay whose record was never written is made anew', async () => {
    await using it = await scene();
    const { path } = await openOverlay(it.options);
    await rm(join(it.options.directory, 'disk.json'));
    await writeFile(path, 'half written');
    expect((await openOverlay(it.options)).isNew).toBe(true);
    expect((await readFile(path)).length).toBeGreaterThan(1000);
  });

  test('refuses a record that is none', async () => {
    await using it = await scene();
    await openOverlay(it.options);
    await writeFile(join(it.options.directory, 'disk.json'), '{"image": 1}');
    await expect(openOverlay(it.options)).rejects.toThrow('not what this program wrote');
  });

  test('unpacks a compressed image once, and knows it by the file that was named', async () => {
    await using it = await scene();
    const image = `${it.image}.zst`;
    await writeFile(image, zstdCompressSync(sampleImage()));
    const options = { ...it.options, image };
    const { path } = await openOverlay(options);
    const unpacked = join(options.directory, 'image.img');
    expect((await readFile(unpacked)).equals(sampleImage())).toBe(true);
    expect((await readFile(path)).includes(unpacked)).toBe(true);
    expect((await readFile(path)).readBigUInt64BE(24)).toBe(BigInt(sampleBytes + 1024 * 1024));
    expect(await openOverlay(options)).toEqual({ path, isNew: false });
    await utimes(image, 1000, 1000);
    await expect(openOverlay(options)).rejects.toMatchObject({ path: '--persist' });
  });

  test('makes no disk over a compressed image that is truncated', async () => {
    await using it = await scene();
    const image = `${it.image}.zst`;
    await writeFile(image, zstdCompressSync(sampleImage()).subarray(0, -100));
    await expect(openOverlay({ ...it.options, image })).rejects.toThrow('damaged or truncated');
    expect(await readdir(it.options.directory)).not.toContain('disk.qcow2');
  });
});
