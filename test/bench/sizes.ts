/** How large images are: as a file system sees them, what of them is content, and compressed. */
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { compressions } from '../../builder/image/compress-image.ts';
import { targets } from '../../images/index.ts';
import { build } from '../vm/built-image.ts';
import { type Bench, type BenchRow, format, timed } from './bench.ts';

/** What a slow connection carries in a minute or two. */
const goalsMb = (target: string) => (target.startsWith('rpi') ? 160 : 100);

export const sizesBench: Bench = {
  name: 'sizes',
  title: 'images of every target',
  needs: { root: false, tools: {} },
  async run({ directory, signal, note }) {
    const rows: BenchRow[] = [];
    const lines: string[][] = [];
    for (const { name: target } of targets) {
      signal.throwIfAborted();
      const out = join(directory, target);
      const plain = await build({ domain: 'chat.example.org', target }, out);
      // st_blocks counts 512 bytes whatever the filesystem's blocks are (stat(2)).
      const { size, blocks } = await stat(plain.image);
      const line = [target, mb(size), mb(blocks * 512), mb(plain.root.sizeBytes)];
      for (const compress of compressions) {
        let image = '';
        const seconds = await timed(async () => {
          ({ image } = await build({ domain: 'chat.example.org', target, compress }, out));
        });
        const { size: bytes } = await stat(image);
        line.push(`${mb(bytes)} (${format(seconds)} s)`);
        if (compress !== 'zst') continue;
        const goal = goalsMb(target);
        rows.push({
          what: `${target}, .img.zst`,
          ours: bytes / 1e6,
          unit: 'MB',
          goal: { text: `≤ ${goal} MB`, met: bytes <= goal * 1e6 },
        });
      }
      note(line.join(', '));
      lines.push(line);
      await rm(out, { recursive: true });
    }
    return {
      rows,
      tables: [
        {
          head: ['target', 'disk', 'content', 'its root', ...compressions.map((ending) => `.img.${ending}`)],
          lines,
        },
      ],
      remarks: ['The seconds are those of a build with everything at hand, compression included.'],
    };
  },
};

function mb(bytes: number): string {
  return `${format(bytes / 1e6)} MB`;
}
