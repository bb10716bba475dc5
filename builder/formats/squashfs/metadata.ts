/**
 * Metadata of a squashfs: a stream of bytes cut into blocks of 8 KiB, each compressed on its own behind two
 * bytes with its stored size (bit 15: stored as it is). A place in it is the offset of a block among the
 * compressed ones, and the offset inside that block before compression.
 */
import { constants, zstdCompressSync } from 'node:zlib';
import { metadataBlockBytes, storedMetadataBit } from './superblock.ts';

export interface MetadataPlace {
  readonly block: number;
  readonly offset: number;
}

/** Collects one metadata stream in memory. */
export class MetadataStream {
  readonly #level: number;
  readonly #pending = new Uint8Array(metadataBlockBytes);
  #pendingBytes = 0;
  readonly #blocks: Uint8Array[] = [];
  #blocksBytes = 0;

  constructor(level: number) {
    this.#level = level;
  }

  /** Where the next byte goes. */
  get place(): MetadataPlace {
    return { block: this.#blocksBytes, offset: this.#pendingBytes };
  }

  append(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const part = bytes.subarray(at, at + metadataBlockBytes - this.#pendingBytes);
      this.#pending.set(part, this.#pendingBytes);
      this.#pendingBytes += part.length;
      at += part.length;
      if (this.#pendingBytes === metadataBlockBytes) this.#flush();
    }
  }

  /** All blocks; nothing can be appended afterwards. */
  finish(): Uint8Array {
    if (this.#pendingBytes > 0) this.#flush();
    return Buffer.concat(this.#blocks, this.#blocksBytes);
  }

  #flush(): void {
    const plain = this.#pending.slice(0, this.#pendingBytes);
    const packed = zstdCompressSync(plain, zstdOptions(this.#level, plain.length));
    const isSmaller = packed.length < plain.length;
    const body = isSmaller ? packed : plain;
    const header = new Uint8Array(2);
    new DataView(header.buffer).setUint16(0, isSmaller ? body.length : body.length | storedMetadataBit, true);
    this.#blocks.push(header, body);
    this.#blocksBytes += header.length + body.length;
    this.#pendingBytes = 0;
  }
}

/**
 * A table: its entries as metadata blocks, then the absolute offset of each block as a 64-bit number. The
 * superblock points at the latter, `indexAt`.
 * @param at where the table will be in the image
 */
export function encodeTable(
  entries: Uint8Array,
  level: number,
  at: number,
): { readonly bytes: Uint8Array; readonly indexAt: number } {
  const stream = new MetadataStream(level);
  const starts: bigint[] = [];
  for (let offset = 0; offset < entries.length; offset += metadataBlockBytes) {
    starts.push(BigInt(at + stream.place.block));
    stream.append(entries.subarray(offset, offset + metadataBlockBytes));
  }
  const blocks = stream.finish();
  const index = Buffer.alloc(starts.length * 8);
  starts.forEach((start, position) => index.writeBigUInt64LE(start, position * 8));
  return { bytes: Buffer.concat([blocks, index]), indexAt: at + blocks.length };
}

/**
 * How every block is compressed. Naming the size beforehand lets zstd choose its tables by it, as
 * ZSTD_compressCCtx does for mksquashfs (without: four times the time and 8 % more bytes at level 15), and
 * makes the window no larger than the block, which is all the kernel's decoder has room for. The output
 * chunk takes the worst case, so that one call does it.
 */
export function zstdOptions(level: number, sizeBytes: number) {
  return {
    params: { [constants.ZSTD_c_compressionLevel]: level },
    pledgedSrcSize: sizeBytes,
    chunkSize: sizeBytes + (sizeBytes >> 8) + 512,
  };
}
