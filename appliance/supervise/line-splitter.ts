/** Splits a stream of bytes into lines of bounded length. */

/** A line longer than this is cut into pieces: what a service prints must not fill memory. */
export const maxLineBytes = 8192;

export class LineSplitter {
  readonly #pieces: Buffer[] = [];
  #bufferedBytes = 0;

  /** Lines completed by `chunk`, without their line ends; control characters but tabs become `?`. */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(0x0a, start);
      const stop = end < 0 ? chunk.length : end;
      while (this.#bufferedBytes + (stop - start) > maxLineBytes) {
        const take = maxLineBytes - this.#bufferedBytes;
        this.#keep(chunk.subarray(start, start + take));
        start += take;
        lines.push(this.#take());
      }
      this.#keep(chunk.subarray(start, stop));
      if (end < 0) return lines;
      lines.push(this.#take());
      start = end + 1;
    }
  }

  #keep(bytes: Buffer): void {
    if (bytes.length === 0) return;
    // A copy: the chunk's memory belongs to the socket's pool.
    this.#pieces.push(Buffer.from(bytes));
    this.#bufferedBytes += bytes.length;
  }

  #take(): string {
    const text = Buffer.concat(this.#pieces).toString('utf8');
    this.#pieces.length = 0;
    this.#bufferedBytes = 0;
    return text.replace(/\r$/, '').replace(/(?!\t)\p{Cc}/gu, '?');
  }
}
