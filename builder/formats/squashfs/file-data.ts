/**
 * The bytes of files: full blocks one behind the other, blocks of zeros left out (sparse), what is left at
 * the end packed together with the ends of other files into fragment blocks. A file whose bytes are there
 * already shares them.
 */
import { createHash } from 'node:crypto';
import type { Content } from '../tree.ts';
import type { TreeInode } from '../tree-order.ts';
import type { BlockWriter, StoredBlock } from './block-writer.ts';

export interface StoredFile {
  readonly sizeBytes: number;
  /** Offset of the first block in the image; 0 if there is none. */
  start: number;
  /** Stored size of each full block, 0 for one of zeros. */
  readonly blocks: number[];
  sparseBytes: number;
  fragment?: { readonly index: number; readonly offset: number };
}

export interface StoredData {
  readonly files: ReadonlyMap<TreeInode, StoredFile>;
  readonly fragments: readonly StoredBlock[];
}

export interface DataOptions {
  readonly blockBytes: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

interface File {
  readonly inode: TreeInode;
  readonly path: string;
  readonly content: Content;
}

/**
 * Stores the content of every file among `inodes`, in their order.
 * @throws RangeError if a content has another size than it declares
 */
export async function storeFiles(
  inodes: Iterable<TreeInode>,
  writer: BlockWriter,
  { blockBytes, signal, onProgress }: DataOptions,
): Promise<StoredData> {
  const list = Array.from(inodes).flatMap((inode): File[] =>
    inode.entry.kind === 'file' ? [{ inode, path: inode.entry.path, content: inode.entry.content }] : [],
  );
  const totalBytes = list.reduce((total, { content }) => total + content.sizeBytes, 0);
  const files = new Map<TreeInode, StoredFile>();
  const known = createDuplicateFinder(list);
  const packer = createFragmentPacker(writer, blockBytes);
  let doneBytes = 0;
  const advance = (bytes: number) => onProgress?.((doneBytes += bytes), totalBytes);
  for (const file of list) {
    const content = await heldIfSmall(file, blockBytes, signal);
    const key = await known.keyOf(content, file.path, signal);
    let stored = key === undefined ? undefined : known.byKey.get(key);
    if (stored !== undefined) {
      advance(stored.sizeBytes);
    } else {
      stored = { sizeBytes: content.sizeBytes, start: 0, blocks: [], sparseBytes: 0 };
      const blocks = readBlocks(content, file.path, blockBytes, signal);
      await storeOne(stored, blocks, { writer, packer, blockBytes, advance });
      if (key !== undefined) known.byKey.set(key, stored);
    }
    files.set(file.inode, stored);
  }
  await packer.flush();
  await writer.drain();
  return { files, fragments: packer.fragments };
}

type FragmentPacker = ReturnType<typeof createFragmentPacker>;

async function storeOne(
  stored: StoredFile,
  blocks: AsyncIterable<Uint8Array>,
  to: {
    readonly writer: BlockWriter;
    readonly packer: FragmentPacker;
    readonly blockBytes: number;
    readonly advance: (bytes: number) => void;
  },
): Promise<void> {
  const { writer, packer, blockBytes } = to;
  const zeros = new Uint8Array(blockBytes);
  for await (const block of blocks) {
    if (block.length < blockBytes) {
      stored.fragment = await packer.add(block);
    } else if (Buffer.compare(block, zeros) === 0) {
      stored.blocks.push(0);
      // The kernel takes file size - sparse for what the file occupies, so never all of it, as mksquashfs.
      stored.sparseBytes = Math.min(stored.sparseBytes + blockBytes, stored.sizeBytes - 1);
    } else {
      const position = stored.blocks.push(0) - 1;
      await writer.append(block, ({ at, size }) => {
        stored.blocks[position] = size;
        if (stored.start === 0) stored.start = at;
      });
    }
    to.advance(block.length);
  }
}

/** Puts ends of files together until a block is full. */
function createFragmentPacker(writer: BlockWriter, blockBytes: number) {
  const fragments: StoredBlock[] = [];
  let pending = new Uint8Array(blockBytes);
  let pendingBytes = 0;
  let index = 0;
  const flush = async (): Promise<void> => {
    if (pendingBytes === 0) return;
    const position = index++;
    const block = pending.subarray(0, pendingBytes);
    pending = new Uint8Array(blockBytes);
    pendingBytes = 0;
    await writer.append(block, (stored) => {
      fragments[position] = stored;
    });
  };
  return {
    fragments,
    flush,
    async add(end: Uint8Array): Promise<{ index: number; offset: number }> {
      if (pendingBytes + end.length > blockBytes) await flush();
      pending.set(end, pendingBytes);
      const place = { index, offset: pendingBytes };
      pendingBytes += end.length;
      return place;
    },
  };
}

/**
 * Finds files with the same bytes. Only files that share their size with another are hashed, and of those
 * only the ones that don't bring a digest along.
 */
function createDuplicateFinder(list: readonly File[]) {
  const countBySize = new Map<number, number>();
  for (const { content } of list)
    countBySize.set(content.sizeBytes, (countBySize.get(content.sizeBytes) ?? 0) + 1);
  return {
    byKey: new Map<string, StoredFile>(),
    async keyOf(content: Content, path: string, signal?: AbortSignal): Promise<string | undefined> {
      if (content.sizeBytes === 0 || (countBySize.get(content.sizeBytes) ?? 0) < 2) return undefined;
      if (content.digest !== undefined && /^sha256:[0-9a-f]{64}$/.test(content.digest)) {
        return `${content.sizeBytes} ${content.digest}`;
      }
      const hash = createHash('sha256');
      for await (const chunk of exactly(content, path, signal)) hash.update(chunk);
      return `${content.sizeBytes} sha256:${hash.digest('hex')}`;
    },
  };
}

/** A file of one block is read once, although it may be hashed and then stored. */
async function heldIfSmall(file: File, blockBytes: number, signal?: AbortSignal): Promise<Content> {
  const { content, path } = file;
  if (content.sizeBytes > blockBytes) return content;
  const bytes = Buffer.concat(await Array.fromAsync(exactly(content, path, signal)));
  const { sizeBytes, digest } = content;
  return { sizeBytes, ...(digest === undefined ? {} : { digest }), read: () => chunksOf(bytes) };
}

async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/** The content in blocks of its own memory, all full but the last. */
async function* readBlocks(
  content: Content,
  path: string,
  blockBytes: number,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let left = content.sizeBytes;
  let block = new Uint8Array(Math.min(blockBytes, left));
  let filled = 0;
  for await (const chunk of exactly(content, path, signal)) {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + block.length - filled);
      block.set(part, filled);
      filled += part.length;
      at += part.length;
      if (filled < block.length) continue;
      yield block;
      left -= filled;
      block = new Uint8Array(Math.min(blockBytes, left));
      filled = 0;
    }
  }
}

/** The chunks of a content, which must add up to the size it declares. */
async function* exactly(
  content: Content,
  path: string,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes = 0;
  for await (const chunk of content.read(signal)) {
    signal?.throwIfAborted();
    bytes += chunk.length;
    if (bytes > content.sizeBytes) break;
    yield chunk;
  }
  if (bytes !== content.sizeBytes) {
    const found = bytes > content.sizeBytes ? 'more' : String(bytes);
    throw new RangeError(`File "${path}" declares ${content.sizeBytes} bytes and has ${found}`);
  }
}
