/**
 * Flashing an image to a loop device, against dd in the same run: from the bare image and from what
 * --compress makes of it. Ours leaves out what is empty, reads back all it wrote, and checks the image first.
 */
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { $ } from 'zx';
import { openBlockDevice } from '../../builder/flash/block-device.ts';
import type { Disk } from '../../builder/flash/disk.ts';
import { openImage } from '../../builder/flash/image.ts';
import { planFlash } from '../../builder/flash/plan.ts';
import { type FlashSession, verifyFlash, writeFlash } from '../../builder/flash/write.ts';
import { compressImage, compressions } from '../../builder/image/compress-image.ts';
import { build } from '../vm/built-image.ts';
import { type Bench, type BenchRow, format, median, runTool, timed } from './bench.ts';

const rounds = 3;

export const flashBench: Bench = {
  name: 'flash',
  title: 'writing an image to a disk',
  needs: { root: true, tools: { mount: 'losetup', zstd: 'zstd', 'bmap-tools': 'bmaptool' } },
  async run({ directory, signal, note }) {
    const { image: path } = await build({ domain: 'chat.example.org' }, join(directory, 'out'));
    const image = await openImage(path, signal);
    for (const ending of compressions) {
      await compressImage(image, ending, { path: `${path}.${ending}` }, signal);
    }
    await using device = await loopDevice(join(directory, 'disk'), image.sizeBytes, signal);
    const { writtenBytes } = await planFlash(image, signal);

    const measured = new Map<string, number[]>();
    const record = (name: string, seconds: number) => {
      measured.set(name, [...(measured.get(name) ?? []), seconds]);
      note(`${name}: ${format(seconds)} s`);
    };
    const to = `of=${device.disk.path}`;
    for (let round = 0; round < rounds; round++) {
      for (const from of [path, `${path}.zst`, `${path}.xz`]) {
        const seconds = await flash(from, device.disk, signal);
        record(`${from.slice(path.length)} all`, seconds.all);
        record(`${from.slice(path.length)} write`, seconds.write);
      }
      const dd = ['bs=4M', 'conv=fsync', 'status=none'];
      record('dd', await timed(() => runTool('dd', [`if=${path}`, to, ...dd], { signal })));
      const script = 'zstd -dc "$0" | dd "$@"';
      const pipe = ['-c', script, `${path}.zst`, to, 'iflag=fullblock', ...dd];
      record('zstd, dd', await timed(() => runTool('sh', pipe, { signal })));
      record(
        'bmaptool',
        await timed(() => runTool('bmaptool', ['copy', path, device.disk.path], { signal })),
      );
    }
    const of = (name: string) => median(measured.get(name) ?? []);
    const row = (what: string, name: string, peerName: string, goal = false): BenchRow => ({
      what,
      ours: of(name),
      peer: of(peerName),
      peerName,
      unit: 's',
      ...(goal && { goal: { text: 'no slower', met: of(name) <= of(peerName) } }),
    });
    return {
      rows: [
        row('.img, write and flush', ' write', 'dd', true),
        row('.img, with check and read-back', ' all', 'dd'),
        row('.img, with check and read-back', ' all', 'bmaptool'),
        row('.img.zst, write and flush', '.zst write', 'zstd, dd', true),
        row('.img.zst, with check and read-back', '.zst all', 'zstd, dd'),
        row('.img.xz, with check and read-back', '.xz all', 'dd'),
      ],
      remarks: [
        `Medians of ${rounds}, a loop device on a file. The image has ${format(image.sizeBytes / 1e6)} MB, of which we write`,
        `${format(writtenBytes / 1e6)} MB and dd everything: on a card of 20 MB/s that is`,
        `${format(writtenBytes / 20e6)} s against ${format(image.sizeBytes / 20e6)} s. Neither peer reads back what it wrote.`,
      ],
    };
  },
};

interface LoopDevice extends AsyncDisposable {
  readonly disk: Disk;
}

async function loopDevice(file: string, sizeBytes: number, signal: AbortSignal): Promise<LoopDevice> {
  await writeFile(file, '');
  await truncate(file, sizeBytes);
  const path = (await $({ quiet: true, signal })`losetup --find --show ${file}`).stdout.trim();
  const disk: Disk = {
    name: path.replace('/dev/', ''),
    path,
    model: 'loop device',
    serial: '',
    sizeBytes,
    sectorBytes: 512,
    isRemovable: true,
    isSystem: false,
    isReadOnly: false,
    uses: [],
    contents: [],
    partNames: [],
  };
  return {
    disk,
    async [Symbol.asyncDispose]() {
      await $({ quiet: true, nothrow: true })`losetup --detach ${path}`;
    },
  };
}

/** As the command does it, from the first look at the image to the last byte compared. */
async function flash(
  path: string,
  disk: Disk,
  signal: AbortSignal,
): Promise<{ readonly all: number; readonly write: number }> {
  let write = 0;
  const all = await timed(async () => {
    const image = await openImage(path, signal);
    const plan = await planFlash(image, signal);
    await using device = await openBlockDevice(disk, process.platform);
    const session: FlashSession = { disk, device, signal, onProgress: () => {} };
    write = await timed(() => writeFlash(image, plan, session));
    await verifyFlash(plan, session);
  });
  return { all, write };
}
