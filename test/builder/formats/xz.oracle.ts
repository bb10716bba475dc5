import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeXz } from '../../../builder/formats/xz.ts';

const hasXz = spawnSync('xz', ['--version']).error === undefined;
const mebibyte = 1024 * 1024;

describe.skipIf(!hasXz && !process.env.CI)('encodeXz, judged by xz', () => {
  test('xz tests it, unpacks the same bytes, and needs little memory for it', async () => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'xz-'));
    const path = join(scratch.path, 'image.xz');
    const bytes = Buffer.concat([
      randomBytes(100_001),
      Buffer.alloc(7 * mebibyte),
      randomBytes(mebibyte),
      Buffer.alloc(mebibyte),
    ]);
    const input = async function* () {
      for (let at = 0; at < bytes.length; at += 300_000) yield bytes.subarray(at, at + 300_000);
    };
    await writeFile(path, encodeXz(input()));
    execFileSync('xz', ['--test', path]);
    const unpacked = execFileSync('xz', ['--decompress', '--stdout', '--memlimit=4MiB', path], {
      maxBuffer: 2 * bytes.length,
    });
    expect(unpacked.equals(bytes)).toBe(true);
    expect(execFileSync('xz', ['--robot', '--list', path], { encoding: 'utf8' })).toContain('CRC32');
  });

  test('xz packs and unpacks no input', async () => {
    const chunks: Uint8Array[] = [];
    const nothing = async function* (): AsyncGenerator<Uint8Array> {};
    for await (const chunk of encodeXz(nothing())) chunks.push(chunk);
    expect(execFileSync('xz', ['--decompress', '--stdout'], { input: Buffer.concat(chunks) }).length).toBe(0);
  });
});
