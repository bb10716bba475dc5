/**
 * Other settings for one card: the seed on BOOT is changed in what is written, the image stays as it is. The
 * changed bytes are part of the plan like all others, so they are read back and compared too.
 */
import { maxConfigBytes, parseConfig, parseJsonWithComments } from '../../appliance/contract/config.ts';
import { bootPaths } from '../../appliance/contract/boot-layout.ts';
import { partitionNames, sectorBytes } from '../../appliance/contract/disk-layout.ts';
import { requireWifiPassword, seedText } from '../config.ts';
import { type BytePatch, planRootFile, readRootFile } from '../formats/fat/replace-file.ts';
import type { Source } from '../formats/random-access.ts';
import type { SeedChange } from '../seed-flags.ts';
import { FlashError } from './disk.ts';
import type { FlashImage } from './image.ts';

/**
 * The image with another seed in it.
 * @throws ConfigError when the settings make no sense; FlashError 'image' when it has no seed that can be read
 */
export async function withSeed(
  image: FlashImage,
  change: SeedChange,
  signal: AbortSignal,
): Promise<FlashImage> {
  const boot = image.table.partitions.find(({ name }) => name === partitionNames.boot);
  if (boot === undefined) throw unusable(image, 'it has no BOOT partition');
  const startBytes = boot.firstSector * sectorBytes;
  const volume = windowOf(image, startBytes, (boot.lastSector + 1) * sectorBytes - startBytes);
  try {
    const old = await readRootFile(volume, bootPaths.seed, maxConfigBytes, signal);
    if (old === undefined) throw unusable(image, `it has no ${bootPaths.seed}`);
    const document = parseJsonWithComments(new TextDecoder().decode(old));
    if (typeof document !== 'object' || document === null || Array.isArray(document)) {
      throw unusable(image, `its ${bootPaths.seed} is no JSON object`);
    }
    const changed = change(document as Record<string, unknown>);
    const config = parseConfig(changed);
    requireWifiPassword(config);
    const text = Buffer.from(seedText({ document: { ...changed, domain: String(changed.domain) } }));
    const patches = await planRootFile(volume, bootPaths.seed, text, signal);
    if (patches === undefined) throw unusable(image, `it has no ${bootPaths.seed}`);
    const placed = patches.map(({ offsetBytes, bytes }) => ({
      offsetBytes: startBytes + offsetBytes,
      bytes,
    }));
    return { ...image, blocks: (abort) => patched(image.blocks(abort), placed) };
  } catch (error) {
    if (error instanceof RangeError) throw unusable(image, error.message, error);
    throw error;
  }
}

function unusable({ path }: FlashImage, why: string, cause?: unknown): FlashError {
  return new FlashError(
    'image',
    `The settings in ${path} cannot be changed: ${why}`,
    'Build the image again, with these settings or without',
    { cause },
  );
}

/** Part of the image. A compressed one can only be read from its start: each look costs what lies before. */
function windowOf(image: FlashImage, startBytes: number, sizeBytes: number): Source {
  return {
    name: image.path,
    sizeBytes,
    async readAt(offset, length, signal = new AbortController().signal) {
      if (offset < 0 || offset + length > sizeBytes) throw new RangeError(`${offset} is beyond its end`);
      const bytes = Buffer.alloc(length);
      const [start, end] = [startBytes + offset, startBytes + offset + length];
      let position = 0;
      for await (const block of image.blocks(signal)) {
        if (position + block.length > start) {
          bytes.set(
            block.subarray(Math.max(0, start - position), end - position),
            Math.max(0, position - start),
          );
        }
        position += block.length;
        if (position >= end) return bytes;
      }
      throw new RangeError('it ends too early');
    },
  };
}

async function* patched(
  blocks: AsyncIterable<Uint8Array>,
  patches: readonly BytePatch[],
): AsyncGenerator<Uint8Array, void, undefined> {
  let position = 0;
  for await (const block of blocks) {
    const end = position + block.length;
    const own = patches.filter(({ offsetBytes, bytes }) => {
      return offsetBytes < end && offsetBytes + bytes.length > position;
    });
    // A copy: one and the same block may stand for all that is empty.
    const whole = own.length === 0 ? block : Buffer.from(block);
    for (const { offsetBytes, bytes } of own) {
      const skipped = Math.max(0, position - offsetBytes);
      whole.set(bytes.subarray(skipped, end - offsetBytes), offsetBytes + skipped - position);
    }
    position = end;
    yield whole;
  }
}
