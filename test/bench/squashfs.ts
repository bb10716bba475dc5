/**
 * The squashfs writer against mksquashfs: the appliance's own root, laid out as files, at the same level and
 * block size, on all cores. Both as a whole process, from start to exit.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { rootLevel } from '../../builder/rootfs/build-root.ts';
import { builtRoot } from '../vm/built-image.ts';
import { type Bench, format, median, ratio, runTool, timed } from './bench.ts';

const blockBytes = 128 * 1024;
const rounds = 3;

export const squashfsBench: Bench = {
  name: 'squashfs',
  title: 'writing the root filesystem',
  // As root, so that owners and device nodes of the tree survive unsquashfs.
  needs: { root: true, tools: { 'squashfs-tools': 'mksquashfs' } },
  async run({ directory, signal, note }) {
    const tree = join(directory, 'tree');
    note('building the root');
    await runTool('unsquashfs', ['-q', '-n', '-no-xattrs', '-d', tree, (await builtRoot()).path], { signal });

    const ours = join(directory, 'ours.squashfs');
    const peer = join(directory, 'peer.squashfs');
    const writer = join(import.meta.dirname, 'write-squashfs.ts');
    const level = String(rootLevel);
    const block = String(blockBytes);
    const writeOurs = () => runTool(process.execPath, [writer, tree, ours, level, block], { signal });
    const writePeer = () =>
      runTool(
        'mksquashfs',
        // prettier-ignore
        [
          tree, peer, '-noappend', '-no-xattrs', '-no-progress', '-quiet',
          '-comp', 'zstd', '-Xcompression-level', level, '-b', block,
        ],
        { signal },
      );
    const [oursSec, peerSec]: [number[], number[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      oursSec.push(await timed(writeOurs));
      peerSec.push(await timed(writePeer));
      note(
        `round ${round + 1}: ${format(oursSec.at(-1) ?? 0)} s, mksquashfs ${format(peerSec.at(-1) ?? 0)} s`,
      );
    }
    const [oursBytes, peerBytes] = [(await stat(ours)).size, (await stat(peer)).size];
    const time = { ours: median(oursSec), peer: median(peerSec) };
    return {
      rows: [
        {
          what: `time, median of ${rounds}`,
          ...time,
          peerName: 'mksquashfs',
          unit: 's',
          goal: { text: 'no slower', met: ratio(time.peer, time.ours) >= 1 },
        },
        {
          what: 'size',
          ours: oursBytes / 1e6,
          peer: peerBytes / 1e6,
          peerName: 'mksquashfs',
          unit: 'MB',
          goal: { text: '≤ 1 % larger', met: oursBytes <= peerBytes * 1.01 },
        },
      ],
      remarks: [
        `zstd level ${rootLevel}, blocks of ${blockBytes / 1024} KiB;`,
        `ours is ${((oursBytes / peerBytes - 1) * 100).toFixed(2)} % larger (negative: smaller).`,
      ],
    };
  },
};
