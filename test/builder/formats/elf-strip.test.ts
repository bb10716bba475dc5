import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { stripElf } from '../../../builder/formats/elf-strip.ts';

describe('stripElf', () => {
  test.skipIf(process.platform !== 'linux')('leaves a Node that runs as before', () => {
    const directory = mkdtempSync(join(tmpdir(), 'elf-'));
    try {
      const original = readFileSync(process.execPath);
      const stripped = stripElf(original);
      expect(stripped.length).toBeLessThan(original.length);
      const path = join(directory, 'node');
      writeFileSync(path, stripped);
      chmodSync(path, 0o755);
      expect(execFileSync(path, ['-p', '6*7'], { encoding: 'utf8' })).toBe('42\n');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test('refuses what is no ELF file, and one cut short anywhere in its headers', () => {
    expect(() => stripElf(new Uint8Array(100))).toThrow('Not a little-endian ELF64 file');
    const header = new Uint8Array(64 + 56);
    header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
    const view = new DataView(header.buffer);
    view.setBigUint64(32, 64n, true);
    view.setUint16(54, 56, true);
    view.setUint16(56, 1, true);
    expect(stripElf(header)).toHaveLength(120);
    for (let length = 0; length < header.length; length++) {
      expect(() => stripElf(header.subarray(0, length))).toThrow();
    }
    view.setBigUint64(64 + 32, 1000n, true);
    expect(() => stripElf(header)).toThrow('segment 0 lies beyond the file');
  });
});
