/**
 * The disk a machine runs from: an overlay over the built image, which is never written to. Either in a
 * temporary directory, or kept in a directory of the operator's together with what it was made over.
 */
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import * as v from 'valibot';
import { ConfigError, systemCode } from '../../appliance/base/errors.ts';
import { openImage } from '../flash/image.ts';
import { encodeQcow2Overlay } from '../formats/qcow2.ts';
import { createSparseFile } from '../formats/sparse-file.ts';

const baseSchema = v.strictObject({
  /** Absolute path, for people. */
  image: v.string(),
  sizeBytes: v.number(),
  mtimeMs: v.number(),
});
type Base = v.InferOutput<typeof baseSchema>;

export interface Overlay {
  readonly path: string;
  /** False when it was there before. */
  readonly isNew: boolean;
}

const overlayName = 'disk.qcow2';
const baseName = 'disk.json';
/** What a compressed image is unpacked to. */
const unpackedName = 'image.img';

/** A multiple of 1 MiB, as partitions want it. */
const alignmentBytes = 1024 * 1024;

/**
 * Makes the overlay in `directory`, or finds the one kept there.
 * @param extraBytes how much larger the guest's disk is than the image, so that DATA has room to grow
 * @throws ConfigError when the one kept there was made over another image; FlashError when a compressed image
 *   is damaged; what the signal was aborted with
 */
export async function openOverlay(options: {
  readonly image: string;
  readonly directory: string;
  readonly extraBytes: number;
  readonly signal?: AbortSignal | undefined;
}): Promise<Overlay> {
  const image = resolve(options.image);
  const { size, mtimeMs } = await stat(image);
  const base: Base = { image, sizeBytes: size, mtimeMs };
  const path = join(options.directory, overlayName);
  await mkdir(options.directory, { recursive: true });
  const kept = await readBase(join(options.directory, baseName));
  if (kept !== undefined && (await exists(path))) {
    if (kept.sizeBytes !== size || kept.mtimeMs !== mtimeMs || kept.image !== image) {
      throw new ConfigError(
        '--persist',
        `The disk kept in ${options.directory} was made over ${kept.image} as it was on ${new Date(kept.mtimeMs).toISOString()}, and that is not the image ${image} of today`,
        'Run it with its own image, name another directory, or delete that one to start afresh',
      );
    }
    return { path, isNew: false };
  }
  const backingFile = isCompressed(image) ? join(options.directory, unpackedName) : image;
  if (backingFile !== image)
    await unpackImage(image, backingFile, options.signal ?? new AbortController().signal);
  const { size: diskBytes } = await stat(backingFile);
  const virtualSizeBytes = Math.ceil((diskBytes + options.extraBytes) / alignmentBytes) * alignmentBytes;
  // The record of its base is written last: an overlay without one is made anew.
  await writeFile(path, encodeQcow2Overlay({ backingFile, virtualSizeBytes }), { mode: 0o600 });
  const record = join(options.directory, `${baseName}.new`);
  await writeFile(record, `${JSON.stringify(base, undefined, 2)}\n`);
  await rename(record, join(options.directory, baseName));
  return { path, isNew: true };
}

function isCompressed(path: string): boolean {
  return /\.(?:zst|xz)$/.test(path);
}

/** QEMU reads no compressed images. The file has holes where the image has. */
async function unpackImage(path: string, target: string, signal: AbortSignal): Promise<void> {
  const image = await openImage(path, signal);
  await using file = await createSparseFile(target, image.sizeBytes, 0o600);
  let offsetBytes = 0;
  for await (const block of image.blocks(signal)) {
    await file.writeAt(offsetBytes, block);
    offsetBytes += block.length;
  }
}

async function readBase(path: string): Promise<Base | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return v.parse(baseSchema, JSON.parse(text));
  } catch (error) {
    throw new ConfigError(
      '--persist',
      `${path} is not what this program wrote there`,
      'Name another directory, or delete that one to start afresh',
      { cause: error },
    );
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
