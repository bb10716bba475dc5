/** Cuts a byte stream into lines that end in LF, and refuses a line longer than its maximum. */
import { ProtocolError } from './errors.ts';

const lineFeed = 0x0a;

export interface LineReader {
  /** The lines that `chunk` completes, without their LF. @throws ProtocolError when one is too long */
  push(chunk: Uint8Array): Buffer[];
  /** Bytes held of a line that has no end yet. */
  readonly pendingBytes: number;
}

/** `maxLineBytes` counts what stands before the LF. */
export function createLineReader(maxLineBytes: number): LineReader {
  let parts: Uint8Array[] = [];
  let pendingBytes = 0;
  const take = (part: Uint8Array) => {
    pendingBytes += part.length;
    if (pendingBytes > maxLineBytes) throw new ProtocolError(`Line longer than ${maxLineBytes} bytes`);
    parts.push(part);
  };
  return {
    get pendingBytes() {
      return pendingBytes;
    },
    push(chunk) {
      const lines: Buffer[] = [];
      let start = 0;
      for (let end = chunk.indexOf(lineFeed); end !== -1; end = chunk.indexOf(lineFeed, start)) {
        take(chunk.subarray(start, end));
        lines.push(Buffer.concat(parts, pendingBytes));
        parts = [];
        pendingBytes = 0;
        start = end + 1;
      }
      // Copied, since the chunk may be a view on a pooled buffer and the rest of the line may take its time.
      if (start < chunk.length) take(Buffer.from(chunk.subarray(start)));
      return lines;
    },
  };
}
