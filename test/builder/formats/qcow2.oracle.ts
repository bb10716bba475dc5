import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodeQcow2Overlay } from '../../../builder/formats/qcow2.ts';

const hasTools = ['qemu-img', 'qemu-io'].every((tool) => spawnSync(tool, ['--version']).error === undefined);
const mebibyte = 1024 * 1024;

describe.skipIf(!hasTools && !process.env['CI'])('encodeQcow2Overlay, judged by qemu-img', () => {
  test.each([3 * mebibyte, 700 * mebibyte, 4096 * mebibyte, 4 * 1024 * 1024 * mebibyte])(
    'a disk of %d bytes is sound, reads as its image, and takes writes beyond the end of it',
    async (virtualSizeBytes) => {
      await using directory = await mkdtempDisposable(join(tmpdir(), 'qcow2-'));
      const image = join(directory.path, 'a, image.img');
      const overlay = join(directory.path, 'overlay.qcow2');
      const content = Buffer.alloc(2 * mebibyte, 0x5a);
      await writeFile(image, content);
      await writeFile(overlay, encodeQcow2Overlay({ backingFile: image, virtualSizeBytes }));

      const info: unknown = JSON.parse(
        execFileSync('qemu-img', ['info', '--output=json', overlay], { encoding: 'utf8' }),
      );
      expect(info).toMatchObject({
        format: 'qcow2',
        'virtual-size': virtualSizeBytes,
        'backing-filename': image,
        'backing-filename-format': 'raw',
      });
      const last = virtualSizeBytes - 65_536;
      const commands = [
        'read -P 0x5a 0 2M',
        'read -P 0 2M 64k',
        'write -P 0x11 64k 64k',
        `write -P 0x22 ${last} 64k`,
        'read -P 0x11 64k 64k',
        `read -P 0x22 ${last} 64k`,
        'read -P 0x5a 0 64k',
      ];
      const io = execFileSync('qemu-io', [...commands.flatMap((command) => ['-c', command]), overlay], {
        encoding: 'utf8',
      });
      expect(io).not.toMatch(/failed|error/i);
      expect(execFileSync('qemu-img', ['check', overlay], { encoding: 'utf8' })).toContain('No errors');
      expect((await readFile(image)).equals(content)).toBe(true);
    },
  );
});
