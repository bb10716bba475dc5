/**
 * Building an image with our command line, against mmdebstrap, mksquashfs and mtools with the same packages
 * from the same mirror: with nothing downloaded yet, again, and again when only the packages are at hand.
 */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';
import { rootLevel } from '../../builder/rootfs/build-root.ts';
import { vmX86 } from '../../images/vm-x86_64.ts';
import { sourceDirectory } from '../vm/built-image.ts';
import { type Bench, type BenchContext, format, median, ratio, runTool, timed } from './bench.ts';
import { debianTools, makeDebianFileSystems, makeDebianRoot } from './peers/debian.ts';

const warmRounds = 5;
/** Of both, one after the other, with fresh caches. */
const coldRounds = 2;

export const buildBench: Bench = {
  name: 'build',
  title: 'making an image',
  // mmdebstrap's quickest mode wants it; our own build does not.
  needs: {
    root: true,
    tools: { ...debianTools, dosfstools: 'mkfs.fat', mtools: 'mcopy', 'squashfs-tools': 'mksquashfs' },
  },
  async run(context) {
    const { directory, note } = context;
    const cold: { ours: number[]; peer: number[] } = { ours: [], peer: [] };
    const again: typeof cold = { ours: [], peer: [] };
    const oursCache = join(directory, 'cache');
    const peerCache = join(directory, 'archives');
    let peerRootBytes = 0;
    for (let round = 0; round < coldRounds; round++) {
      for (const path of [oursCache, peerCache]) await rm(path, { recursive: true, force: true });
      cold.ours.push(await timed(() => buildOurs(context, oursCache)));
      note(`cold: ours ${format(cold.ours.at(-1) ?? 0)} s`);
      cold.peer.push(await timed(async () => void (await buildPeer(context, peerCache))));
      note(`cold: peer ${format(cold.peer.at(-1) ?? 0)} s`);
      await rm(join(oursCache, 'roots'), { recursive: true });
      again.ours.push(await timed(() => buildOurs(context, oursCache)));
      note(`packages at hand: ours ${format(again.ours.at(-1) ?? 0)} s`);
      again.peer.push(
        await timed(async () => {
          peerRootBytes = await buildPeer(context, peerCache);
        }),
      );
      note(`packages at hand: peer ${format(again.peer.at(-1) ?? 0)} s`);
    }
    const warm: number[] = [];
    for (let round = 0; round < warmRounds; round++) {
      warm.push(await timed(() => buildOurs(context, oursCache)));
    }
    note(`warm: ${warm.map(format).join(', ')} s`);
    const [warmSec, peerSec] = [median(warm), median(again.peer)];
    const peerName = 'mmdebstrap';
    return {
      rows: [
        { what: 'nothing cached', ours: median(cold.ours), peer: median(cold.peer), peerName, unit: 's' },
        {
          what: 'packages cached, root made anew',
          ours: median(again.ours),
          peer: peerSec,
          peerName,
          unit: 's',
        },
        {
          what: 'warm: all cached',
          ours: warmSec,
          peer: peerSec,
          peerName,
          unit: 's',
          goal: { text: '≥ 10× faster, < 5 s', met: ratio(peerSec, warmSec) >= 10 && warmSec < 5 },
        },
        {
          what: 'size of the root',
          ours: (await rootBytes(oursCache)) / 1e6,
          peer: peerRootBytes / 1e6,
          peerName,
          unit: 'MB',
        },
      ],
      remarks: [
        `Medians of ${coldRounds}, warm of ${warmRounds}; whole processes, from start to exit.`,
        'Ours brings Node and writes a whole disk; the peer is spared Node, the boot loaders and putting the',
        'disk together, and has no cache but of packages.',
      ],
    };
  },
};

async function buildOurs({ directory, signal }: BenchContext, cache: string): Promise<void> {
  const entry = join(sourceDirectory, 'builder/cli/entry.js');
  await runTool(process.execPath, [entry, '--domain', 'chat.example.org', '--out', join(directory, 'out')], {
    signal,
    env: { CHATMAIL_BUILD_CACHE: cache },
  });
}

/** Resolves to the size of the root's squashfs. */
async function buildPeer({ directory, signal }: BenchContext, cache: string): Promise<number> {
  const work = join(directory, 'peer');
  const root = join(work, 'root');
  await mkdir(root, { recursive: true });
  try {
    await makeDebianRoot(root, vmX86.rootPackages, { signal, cache });
    const { squashfs } = await makeDebianFileSystems(root, work, { signal, level: rootLevel });
    return (await stat(squashfs)).size;
  } finally {
    await rm(work, { recursive: true });
  }
}

async function rootBytes(cache: string): Promise<number> {
  const roots = join(cache, 'roots');
  const name = (await readdir(roots)).find((one) => one.endsWith('.squashfs'));
  if (name === undefined) throw new Error('Our build left no root in its cache');
  return (await stat(join(roots, name))).size;
}
