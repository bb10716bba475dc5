/**
 * What the archive readers yield and the image writers take: a tree of files as a sorted list of entries.
 * Knows nothing of the product. Paths are relative, `/`-separated, without `.`, `..` or empty parts; the
 * root directory is the empty string.
 */

/** Bytes that can be read more than once, wherever they are. */
export interface Content {
  readonly sizeBytes: number;
  /** Names the bytes for caches (`sha256:…`), when known. */
  readonly digest?: string;
  /** Reads all of it, in chunks of any size, in order. */
  read(signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

interface Common {
  readonly path: string;
  /** Permission bits with setuid, setgid and sticky: 0o0000–0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. Writers that must be reproducible take it as given. */
  readonly mtimeSec: number;
}

export type TreeEntry = Common &
  (
    | { readonly kind: 'file'; readonly content: Content }
    | { readonly kind: 'directory' }
    | { readonly kind: 'symlink'; readonly target: string }
    /** Another name of the file at `target` (a path of this tree). */
    | { readonly kind: 'hardlink'; readonly target: string }
    | { readonly kind: 'character' | 'block'; readonly major: number; readonly minor: number }
    | { readonly kind: 'fifo' | 'socket' }
  );

/** Content held in memory. */
export function bytesContent(bytes: Uint8Array): Content {
  return {
    sizeBytes: bytes.length,
    async *read() {
      yield bytes;
    },
  };
}

export function textContent(text: string): Content {
  return bytesContent(new TextEncoder().encode(text));
}

/**
 * All of `content` in memory.
 * @throws RangeError when it is larger than `maxBytes`
 */
export async function readContent(
  content: Content,
  maxBytes: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  if (content.sizeBytes > maxBytes) {
    throw new RangeError(`${content.sizeBytes} bytes, more than the ${maxBytes} that are expected here`);
  }
  const bytes = new Uint8Array(content.sizeBytes);
  let offset = 0;
  for await (const chunk of content.read(signal)) {
    if (offset + chunk.length > bytes.length) throw new RangeError(`More than ${bytes.length} bytes came`);
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  if (offset !== bytes.length) throw new RangeError(`Only ${offset} of ${bytes.length} bytes came`);
  return bytes;
}
